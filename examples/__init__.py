"""Programs that show what rio_chain is for."""
