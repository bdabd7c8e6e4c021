"""How the embedded model was made, and how it is measured."""
