"""The online half: answers requests from the lists that the nightly half has published. It never imports `jobs`."""
