"""One file of the migrations carried out: its transaction, what runs beside it, and its way back."""
