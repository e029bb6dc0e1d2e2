"""The online half: answers requests from what the nightly half published. It never imports `jobs`."""
