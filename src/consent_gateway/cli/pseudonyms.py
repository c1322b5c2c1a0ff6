"""The commands for pseudonyms: files of them, which need no store, and their epochs in one."""

from __future__ import annotations

from consent_gateway.cli.lazy import LazyGroup, Place

_PLACES = {
    "decoder": Place(
        "pseudonym_files",
        "print_decoder",
        "Print the file that partners use: checks pseudonyms, tells epochs, moves tables; Python alone is needed.",
    ),
    "convert": Place(
        "pseudonym_files",
        "convert_file",
        "Print every pseudonym of a file with its successor as NDJSON, in order; status 1 if some mean nobody.",
    ),
    "roll": Place(
        "pseudonym_epochs",
        "roll_epoch",
        "Begin the next epoch of the pseudonyms of RECIPIENT, and of everybody's in its sector.",
    ),
    "epochs": Place(
        "pseudonym_epochs", "show_epochs", "Show which epochs of the pseudonyms of RECIPIENT count, and until when."
    ),
    "test": Place(
        "pseudonym_files",
        "test_vectors",
        "Hold vector files against the vault and print every difference; status 1 if there is any.",
    ),
}

pseudonyms = LazyGroup(
    "pseudonyms",
    _PLACES,
    help="Pseudonyms: move a file to the current epoch, begin the next one, check vectors, print the partners' tool.",
)
