"""Await and watch database backups of Guidewire Cloud Platform."""
