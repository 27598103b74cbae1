"""Where things are, what a file, a number, a claim and a parameter are: what every other room builds on."""
