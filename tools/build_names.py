"""Builds data/names.txt from the given names in Faker's person providers; data/README.md tells the story.

    python -m tools.build_names           writes data/names.txt, and prints the counts per locale
    python -m tools.build_names -o FILE    writes FILE

The outcome depends on nothing but the two pinned packages, so a rebuild gives the same bytes.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PINNED = {"Faker": "40.54.0", "anyascii": "0.3.3"}
SCRIPTS = {"LATIN", "CYRILLIC", "GREEK", "GEORGIAN", "ARMENIAN"}  # alphabets: a letter stands for a sound
ATTRIBUTES = ["first_names" + kind for kind in ("", "_male", "_female", "_nonbinary", "_unisex")]
SHORTEST, LONGEST = 2, 15
TARGET = Path(__file__).resolve().parents[1] / "data" / "names.txt"


def check_versions() -> None:
    """Raises SystemExit with the command to run when a pinned package is missing or another version."""
    fix = "pip install " + " ".join(f"{name}=={pin}" for name, pin in PINNED.items())
    for name, pin in PINNED.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            raise SystemExit(f"{name} is not installed; to rebuild the names: {fix}") from None
        if found != pin:
            raise SystemExit(f"{name} {found} is installed, the list is made with {pin}; run: {fix}")


def provider_names() -> dict[str, set[str]]:
    """Every given name that Faker lists, as spelled there, by locale (e.g. "ru_RU"); {} where it has none."""
    import faker.providers.person as person
    from tqdm import tqdm

    names = {}
    locales = sorted(module.name for module in pkgutil.iter_modules(person.__path__))
    for locale in tqdm(locales, desc="reading locales", unit="locale", leave=False):
        provider = importlib.import_module(f"{person.__name__}.{locale}").Provider
        listed = (getattr(provider, attribute, ()) for attribute in ATTRIBUTES)
        # A few providers compute their names on access (a property); what those join is listed anyway.
        names[locale] = {name for group in listed if not isinstance(group, property) for name in group}
    return names


def main_script(names: Iterable[str]) -> str:
    """The script of most letters, by their Unicode names ("CYRILLIC SMALL LETTER A"); "" without letters."""
    letters = (letter for name in names for letter in name if letter.isalpha())
    # Counted before the comparison, ties by alphabet: a set has no order to rely on.
    counts = Counter(unicodedata.name(letter, "?").split()[0] for letter in letters)
    return min(counts, key=lambda script: (-counts[script], script), default="")


def romanise(name: str) -> str | None:
    """The name in 2 to 15 letters a-z (Ольга -> olga), or None where it does not come to that."""
    from anyascii import anyascii

    # Some entries end in a stray space; soft signs and apostrophes become ' (Ol'ga, D'Arcy).
    plain = anyascii(name.strip()).lower().replace("'", "")
    fits = SHORTEST <= len(plain) <= LONGEST and plain.isascii() and plain.isalpha()
    return plain if fits else None


def chosen(spelled: dict[str, set[str]]) -> dict[str, set[str]]:
    """Locale -> its romanised names, for the locales whose names are in an alphabet of SCRIPTS."""
    return {
        locale: {plain for name in names if (plain := romanise(name))}
        for locale, names in spelled.items()
        if main_script(names) in SCRIPTS
    }


def most_shared_first(by_locale: dict[str, set[str]]) -> list[str]:
    """All names once; first those that the most languages have (de_AT and de_CH are one), then a to z."""
    languages = defaultdict(set)
    for locale, names in by_locale.items():
        for name in names:
            languages[name].add(locale.split("_")[0])
    return sorted(languages, key=lambda name: (-len(languages[name]), name))


def table(spelled: dict[str, set[str]], by_locale: dict[str, set[str]]) -> str:
    """The counts per locale, as in README.md: names listed by Faker, names that came to 2-15 letters."""
    rows = [
        f"| {locale} | {main_script(spelled[locale]).title()} | {len(spelled[locale]):,} | {len(names):,} |"
        for locale, names in by_locale.items()
    ]
    return "\n".join(["| locale | script | listed | kept |", "|---|---|--:|--:|", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=TARGET)
    output = parser.parse_args().output
    check_versions()
    spelled = provider_names()
    by_locale = chosen(spelled)
    names = most_shared_first(by_locale)
    try:
        output.write_bytes("".join(name + "\n" for name in names).encode("ascii"))
    except OSError as error:
        raise SystemExit(f"cannot write {output}: {error.strerror}; name another file with -o") from None
    print(table(spelled, by_locale))
    print(f"{output}: {len(names):,} names from {len(by_locale)} locales, {', '.join(names[:5])} …")


if __name__ == "__main__":
    main()
