"""Family `tacotron`: text to speech by attention."""
