"""Maps of a library: where its photos are, as a web page, for GPS devices and for globes."""
