"""Commands on personal data: erasure, export, consent, retention, pseudonyms and the audit log."""
