"""What a chain is made of and compiles to: nodes, Plan, Request. All data: nothing here runs."""
