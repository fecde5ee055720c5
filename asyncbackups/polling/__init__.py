"""Pure decisions about polling: how long backups take, when to ask next, get or list, what came of it."""
