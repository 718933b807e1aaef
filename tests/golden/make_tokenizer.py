"""Records what other implementations give for the tokenizer tests: tokenizer.gpt2.jsonl, tokenizer.small.json and
tokenizer.small.jsonl, beside this file. Needs Python 3.11 (Unicode 14, as PCRE2 10.42 has), tokenizers and tiktoken.

GPT-2's ids must be the same from Hugging Face tokenizers and from tiktoken, both built from data/gpt2, or nothing is
written. The small tokenizer is trained here; its ids come from Hugging Face tokenizers alone.
Characters that Unicode 14 does not know are left out: what they count as depends on each library's Unicode version.
"""

import json
import pathlib
import platform
import random
import unicodedata

import regex
import tiktoken
import tokenizers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).parent
DATA = HERE.parent.parent / "data"
PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
SPACES = [
    chr(c)
    for c in (
        *range(9, 14),
        *range(0x1C, 0x21),
        0x85,
        0xA0,
        0x1680,
        0x180E,
        *range(0x2000, 0x2010),
        0x2028,
        0x2029,
        0x202F,
        0x205F,
        0x2060,
        0x3000,
        0xFEFF,
    )
]
HANDMADE = [
    "",
    "a",
    " ",
    "  ",
    "\n",
    "\0",
    "\0\0a\0",
    "Hello, world!",
    "Hello  world",
    " Hello",
    "Hello ",
    "Hello\n\nworld\n",
    "\r\n\r\n",
    "\t\tif (x == 0) { return -1; }\n",
    "don't can't I'm you're we've he'll she'd it's",
    "DON'T CAN'T I'M YOU'RE WE'VE HE'LL",
    "'s't're've'm'll'd",
    "x'S 'S s's''s",
    "rock'n'roll o'clock 'twas '90s",
    "don’t it’s",
    "<|endoftext|>",
    "a<|endoftext|>b",
    "<|endoftext",
    "0 1 12 123 1234 12345 3.14159 1e-9 0x1F 1,000,000",
    "½ ⅓ ² ³ Ⅷ ① 五 ٣٤٥ १२३",
    "١٢٣abc٤٥٦",
    "naïve café résumé Ångström",
    "nai\u0308ve cafe\u0301",
    "Z̴̡̛͉̪͇a̶l̷g̸o",
    "e\u0301\u0302\u0303\u0304 \u0301 \u0301a",
    "Straße GROẞE ſ ﬁ ﬂ",
    "Привет, мир! Как дела?",
    "Γειά σου Κόσμε",
    "שלום עולם",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "สวัสดีชาวโลก",
    "你好,世界。今天天气不错",
    "こんにちは世界 カタカナ ｶﾀｶﾅ",
    "안녕하세요 세계",
    "გამარჯობა",
    "Բարեւ",
    "ሰላም",
    "ᓄᓇᕗᑦ",
    "𐍈 𝔘𝔫𝔦 𝟘𝟙 𓀀 𒀀",
    "Tiếng Việt rất đẹp",
    "İstanbul ıI",
    "😀😂🤣",
    " 😀 😀",
    "👨‍👩‍👧‍👦 👩🏽‍💻 🏳️‍🌈 🇫🇷🇩🇪",
    "❤️ ☂️ 1️⃣ ©®™",
    "→ ⇒ ∀x∈ℝ: √x² = |x| ≠ ∞",
    "«guillemets» „quotes“ ‚single‘ — – … ‰",
    "def f(x):\n    return x**2  # square\n\n\nclass A:\n\tpass\n",
    "for (int i = 0; i < n; ++i) a[i] += b[i] * c;\n",
    '<html><body class="x">&nbsp;</body></html>',
    "SELECT * FROM t WHERE a <> 'b';",
    "https://example.org/a?b=c&d=%20#e",
    "snake_case camelCase SCREAMING_CASE kebab-case",
    "!!!???...---===###",
    " !!! ???",
    "a.b.c...d",
    "\\n \\t \\\\",
    "\u200b\u200ca\u200d\ufeffb",
    "\ufeffBOM",
    "\u180ea \u180e",
    "\x85a\x85\x85b",
    "\x1c\x1d\x1e\x1f",
    "\x01\x02\x7f\x80\x9f",
    "\ue000\uf8ff\U0010ffff",
    "\ufffd\ufffe\uffff",
    "a\u00a0b\u00a0\u00a0c",
    "a\u2028b\u2029c",
    "x\u3000y\u3000\u3000z",
    "\u00adsoft\u00adhyphen",
]


def known(c):
    """Whether Unicode 14 assigns the character, or never will: private use and noncharacters stay what they are."""
    code = ord(c)
    return unicodedata.category(c) not in ("Cn", "Cs") or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


def random_strings(rng, n):
    everything = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and known(chr(c))]
    basic = [c for c in everything if ord(c) < 0x3000]
    ascii_only = [chr(c) for c in range(128)]
    words = [
        "the",
        " the",
        "The",
        "'s",
        "'LL",
        "’s",
        " 12",
        "é",
        "\n",
        " ",
        "  ",
        "_",
        "🙂",
        "中",
        "Ж",
        "\u0301",
        "\u200d",
        "\t",
    ]
    pools = [everything, basic, ascii_only, words, SPACES + ["a", "1", "!", " "], list("ab "), list("'stremvld ST")]
    for i in range(n):
        pool = pools[i % len(pools)]
        yield "".join(rng.choice(pool) for _ in range(rng.randint(1, 48)))


def excerpts(rng, n):
    novels = [path.read_bytes().decode() for path in sorted((DATA / "austen").glob("*.txt"))]
    for i in range(n):
        novel = novels[i % len(novels)]
        at = rng.randrange(len(novel) - 300)
        yield novel[at : at + rng.randint(1, 300)]


def chapter():
    text = (DATA / "austen" / "persuasion.txt").read_bytes().decode()
    first = regex.search(r"^\s*chapter\s+(i|1)\b.*$", text, regex.I | regex.M).start()
    return text[first : regex.compile(r"^\s*chapter\s+(ii|2)\b.*$", regex.I | regex.M).search(text, first + 20).start()]


def corpus(n_random, n_excerpts):
    rng = random.Random(2026)
    yield from HANDMADE
    for s in SPACES:
        yield from (s, f"a{s}b", f"a {s}b{s}{s}c {s} ", f"{s}{s}1!{s}?")
    for run in ("a", "ab", " ", "\n", "!", "9", "\t ", "é", "the ", "=-", "\u0301", "👍", "e" * 7 + " "):
        for n in (31, 64, 257, 2000):
            yield run * n
    yield from random_strings(rng, n_random)
    yield from excerpts(rng, n_excerpts)
    yield chapter()


def gpt2_of_hugging_face():
    merges = (DATA / "gpt2" / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:-1]
    vocab = json.loads((DATA / "gpt2" / "encoder.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[tuple(m.split(" ")) for m in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def gpt2_of_tiktoken():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    byte_of = {chr(b): b for b in printable}
    byte_of.update({chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in printable)})
    vocab = json.loads((DATA / "gpt2" / "encoder.json").read_text(encoding="utf-8"))
    ranks = {bytes(byte_of[c] for c in token): id for token, id in vocab.items() if token != "<|endoftext|>"}
    return tiktoken.Encoding("gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})


def small_tokenizer():
    """A vocabulary of 700 with special and other added tokens, trained on half a novel."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|endoftext|>", "<|end|>", "<|end|>\n"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([(DATA / "austen" / "emma.txt").read_bytes().decode()[:400000]], trainer)
    tokenizer.add_tokens(["Miss Woodhouse", "Woodhouse", AddedToken("é!", normalized=False), "|>x", "s<|e"])
    return tokenizer


SMALL_HANDMADE = [
    "yes<|end|>s<|e",
    "yes<|endoftext|>",
    "<|endoftext|>",
    "one<|endoftext|>two <|endoftext|> three",
    "<|end|>",
    "<|end|>\n",
    "<|end|><|end|>\n<|endoftext|><|end",
    "Miss Woodhouse and Mr. Woodhouse",
    "MissMiss Woodhouse",
    "é!é",
    "<|end|>x",
    "|>x<|end|>x",
    " <|endoftext|>  ",
    "Miss Woodhous",
]


def write(path, strings, encode, header):
    lines = [json.dumps(header)]
    lines += [json.dumps({"text": s, "ids": encode(s)}, ensure_ascii=False, separators=(",", ":")) for s in strings]
    path.write_bytes(("\n".join(lines) + "\n").encode())
    print(path.name, len(lines) - 1, "strings,", path.stat().st_size, "bytes")


def main():
    versions = {
        "tokenizers": tokenizers.__version__,
        "python": platform.python_version(),
        "unicode": unicodedata.unidata_version,
    }
    hugging_face, openai = gpt2_of_hugging_face(), gpt2_of_tiktoken()

    def both(text):
        ids = hugging_face.encode(text).ids
        assert ids == openai.encode_ordinary(text), repr(text)
        return ids

    write(HERE / "tokenizer.gpt2.jsonl", corpus(700, 200), both, {**versions, "tiktoken": tiktoken.__version__})
    small = small_tokenizer()
    small.save(str(HERE / "tokenizer.small.json"), pretty=False)
    strings = [*SMALL_HANDMADE, *corpus(210, 60)]
    write(HERE / "tokenizer.small.jsonl", strings, lambda s: small.encode(s, add_special_tokens=False).ids, versions)


if __name__ == "__main__":
    main()
