"""What a user writes: Task, its operators and policy calls, fan_out, each, choose. It describes; nothing runs."""
