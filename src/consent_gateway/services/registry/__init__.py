"""The registers: purposes, recipients, fields and their record of processing."""
