"""Image–text scorer: how well a picture and a caption, Chinese or English, fit each other."""
