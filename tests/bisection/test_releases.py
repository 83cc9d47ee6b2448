"""Where packages come from: what pip is configured with is handed on to uv in the same words."""

from __future__ import annotations

from convfuzz.bisection.releases import Sources, _read_configured


def test_what_pip_is_configured_with_is_read() -> None:
    """Files and variables count, several values are in one, and other settings are left alone."""
    shown = [
        ":env:.find-links='/a /b'",
        "global.cert='/etc/ssl/c.crt'",
        "global.index-url='https://example.org/simple'",
        "global.extra-index-url='\\nhttps://example.org/1\\nhttps://example.org/2'",
        "install.constraint='/c.txt'",
        "install.no-index='true'",
    ]
    assert _read_configured(shown) == Sources(
        "https://example.org/simple",
        ("https://example.org/1", "https://example.org/2"),
        ("/a", "/b"),
        no_index=True,
        constraints=("/c.txt",),
    )


def test_what_is_given_comes_before_what_is_configured() -> None:
    """One index replaces another, lists are added to, and pip index gets no constraints."""
    given = Sources("https://given.example/simple", find_links=("wheels",), constraints=("own.txt",))
    both = given.beside(Sources("https://configured.example/simple", find_links=("more",)))
    assert both.options() == [
        *("--index-url", "https://given.example/simple", "--find-links", "wheels", "--find-links", "more", "--constraint", "own.txt")
    ]
    assert "--constraint" not in both.options(constraints=False)
