"""Commands of a run: its steps, publishing, rollback and the trending list."""
