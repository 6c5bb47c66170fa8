"""Pages in a headless Chromium: pictures of them, and what their look is.

`audit` measures a page, `screenshot` takes a picture, `browser.Browser` speaks with Chromium.
"""
