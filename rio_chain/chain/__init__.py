"""What a chain is made of and compiles to: nodes, Plan, Request. All of it is data; nothing here runs."""
