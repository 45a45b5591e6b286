"""What output folders hold, as one sequence of rows with pictures: to look at, judge and train on."""
