"""What every layer uses: times and checks, forks, errors that nobody gets, deadlines."""
