"""Key services: whatever holds the keys under which a keyring's roots rest.

`port` is the one small interface; `..protectors` implements it with a passphrase or a mounted secret, `transit`, `aws`
and `pkcs11` with a service; `retry` bounds what a service may cost. A service is asked when a keyring is opened,
changed or refreshed, and never to read a person's data.
"""
