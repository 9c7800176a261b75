"""One file per question asked of a recorded study; nothing is drawn here."""
