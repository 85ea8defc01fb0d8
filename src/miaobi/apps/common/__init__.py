"""What several apps share: timelines and the films that are made of them, lettering, the mixing of sound."""
