"""Poems in fixed forms: a codec over verse on the shared Transformer; form, rhyme and tone are constraints on decoding."""
