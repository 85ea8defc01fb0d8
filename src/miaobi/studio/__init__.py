"""The studio: a web page in two languages to make things with, to judge them, to find them again, and to train what makes them."""
