"""What every benchmark is made with: servers, data, measuring, and the page that is written."""
