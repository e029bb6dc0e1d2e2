"""Run jobs on a schedule, in child processes, with retries and history."""
