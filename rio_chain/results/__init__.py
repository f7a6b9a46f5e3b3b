"""The results of a run: its Outcome, a Response for each task, and Events; also the record that they are made of."""
