from benchmarks import tokenizer
from qwenvl.demo.vocabulary import corpus, train_vocabulary


def test_contenders_agree_and_each_has_a_row(tmp_path, capsys):
    path = tmp_path / "qwen.tiktoken"
    train_vocabulary(corpus(), 300).save(path)
    text = tokenizer.mixed_text(10_000)
    assert 10_000 <= len(text.encode()) < 30_000

    encode, decode = tokenizer.contenders(path, text)
    assert encode["tiktoken"]() == encode["Vocabulary.encode_text"]() == encode["QWenTokenizer.encode"]()
    assert {call() for call in decode.values()} == {text}

    tokenizer.main(["--vocabulary", str(path), "--bytes", "10000", "--repeats", "1"])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("| encode", "| decode"))]
    assert len(rows) == len(encode) + len(decode)
