"""`create`: one brief becomes a poem, pictures, music, a voice, a short film and a page that shows them."""
