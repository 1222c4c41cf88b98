"""``python -m musclelora``, which is what ``torchrun -m`` and ``accelerate launch -m`` start."""

from musclelora.entry import main

if __name__ == "__main__":
    main()
