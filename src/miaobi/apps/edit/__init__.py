"""Films and sounds that exist already, cut, shortened, dubbed, subtitled and described."""
