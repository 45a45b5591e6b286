"""What things cost before a folder's own replies say it; nothing here knows a network or a provider."""
