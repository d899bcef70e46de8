"""The HTTP server: OpenAI's speech API, and enhancement, conversion and music in its manner."""
