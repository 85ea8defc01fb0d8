"""From written text to what is said: numbers, dates, units and signs in words, Mandarin in pinyin, English in phonemes, by word."""
