"""What a business keeps of its permission: a receipt, by mail and as a page."""
