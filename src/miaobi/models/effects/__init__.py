"""Sound effects by rule: rain, wind, bells, birds and the like, synthesised from parameters and a seed."""
