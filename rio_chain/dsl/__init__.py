"""What a user writes: Task, its operators and policy methods, fan_out, each, choose. Writing a chain runs nothing."""
