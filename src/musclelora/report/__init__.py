"""What a person looks at: figures. Nothing is computed here."""
