"""Losses as traces (jaxprs): evaluated, checked for kinks, flipped unit by unit, differentiated."""
