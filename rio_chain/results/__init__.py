"""What a run gives: its Outcome, a Response for each task, Events; and the record they are made of."""
