"""Tables that people write: encodings, headers, and every refusal."""

import json

import pytest

from verdict.data.own.pair_file import read_pair_file

HEADER = "image,hypothesis,label\n"


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "header", [" Image_ID , Hypothesis,LABEL", "File Name,sentence,gold label", '"image-id","Statement",label']
)
def test_headers_are_found_in_any_case(tmp_path, header):
    read = read_pair_file(write(tmp_path / "a.csv", header + "\ntest1.jpg,A dog runs.,entailment\n"))
    assert list(read.rows.columns) == ["image_id", "hypothesis", "label", "line"]


def test_a_column_may_be_found_by_a_part_of_its_name(tmp_path):
    """Only where that is asked for, and only if the part fits one column."""
    table = write(tmp_path / "a.csv", "Image of it,Hypothesis text,True label,note\n" + "a,b,entailment,c\n")
    with pytest.raises(ValueError, match="no column for"):
        read_pair_file(table)
    read = read_pair_file(table, by_part=True)
    assert list(read.rows.columns) == ["image_id", "hypothesis", "label", "line"]
    assert read.ignored == ("note",)
    twice = write(tmp_path / "b.csv", "image,hyp one,hyp two,label\na,b,c,entailment\n")
    with pytest.raises(ValueError, match=r"b\.csv: the columns \['hyp one', 'hyp two'\] would all be hypothesis"):
        read_pair_file(twice, by_part=True)
    both = write(tmp_path / "c.csv", "image label,hyp\na,b\n")
    with pytest.raises(ValueError, match="the column 'image label' would be both image_id and label"):
        read_pair_file(both, by_part=True)
    named = write(tmp_path / "d.csv", "image,hyp,hypothesis id,label,label code\na,b,c,entailment,d\n")
    assert read_pair_file(named, by_part=True).rows.loc[0, ["hypothesis", "label"]].tolist() == ["b", "entailment"]


def test_semicolon_tab_quotes_and_blank_lines(tmp_path):
    semicolon = "image;hypothesis;label\na;One, two;entailment\n\n"
    assert read_pair_file(write(tmp_path / "a.csv", semicolon)).rows["hypothesis"].tolist() == ["One, two"]
    assert len(read_pair_file(write(tmp_path / "b.csv", semicolon.replace(";", "\t"))).rows) == 1
    quoted = HEADER + 'a,"He said ""no"", then left",entailment\n'
    assert read_pair_file(write(tmp_path / "c.csv", quoted)).rows["hypothesis"][0] == 'He said "no", then left'


def test_unlabelled_table(tmp_path):
    path = write(tmp_path / "a.csv", "image,hypothesis\na,b\n")
    assert "label" not in read_pair_file(path, labelled=False).rows
    with pytest.raises(ValueError, match=r"no column for \['label'\]; found \['image', 'hypothesis'\], accepted"):
        read_pair_file(path)


def lines(*records):
    return "".join(json.dumps(r) + "\n" for r in records)


def test_json_lines_with_integer_ids(tmp_path):
    record = {"Image_ID": 4564320256, "Label": "entailment", "Hypothesis": "Dogs.\u2028Out.", "Premise": "c", "n": [1]}
    read = read_pair_file(write(tmp_path / "a.jsonl", lines(record) + "\n" + lines(record | {"Image_ID": "7"})))
    assert read.rows["image_id"].tolist() == ["4564320256", "7"]
    assert read.rows["line"].tolist() == [1, 3]
    assert read.ignored == ("n",) and read.facts["encoding"] == "utf-8"
    assert read.rows["premise"].tolist() == ["c", "c"]


GOOD = {"image": "a", "hypothesis": "b", "label": "entailment"}


SHEET = "image,hypothesis,label,split\n"


@pytest.mark.parametrize(
    ("written", "read"),
    [("validation", "val"), ("Dev", "val"), ("training", "train"), ("testing", "test"), ("CALIBRATION", "calib")],
)
def test_splits_are_read_as_people_call_them(tmp_path, written, read):
    found = read_pair_file(write(tmp_path / "a.csv", SHEET + f"a,b,entailment,{written}\n"))
    assert found.rows["split"].tolist() == [read]
    assert found.facts.get("splits_read_as", f"{written} = {read}") == f"{written} = {read}"


@pytest.mark.parametrize("words", [("yes", "no"), ("True", "FALSE"), ("Entailed", "contradicted")])
def test_labels_of_one_meaning_are_recognised_and_said(tmp_path, words):
    found = read_pair_file(write(tmp_path / "a.csv", HEADER + f"a,b,{words[0]}\na,c,{words[1]}\n"))
    assert found.rows["label"].tolist() == ["entailment", "contradiction"]
    assert found.facts["labels_read_as"] == f"{words[0].lower()} = entailment, {words[1].lower()} = contradiction"


@pytest.mark.parametrize("words", [("0", "1"), ("1", "1"), ("0.0", "1.0")])
def test_labels_that_have_two_meanings_are_asked_for(tmp_path, words):
    path = write(tmp_path / "a.csv", HEADER + "".join(f"a,b{k},{word}\n" for k, word in enumerate(words)))
    with pytest.raises(ValueError, match=r"a\.csv: the labels are .*; say which is which in data\.csv\.labels"):
        read_pair_file(path)
    stated = {words[1]: "entailment", "-1": "contradiction", words[0]: "contradiction"}
    found = read_pair_file(path, labels=stated)
    assert found.rows["label"].tolist()[0] == stated[words[0]]
    assert f"{words[0]} = " in found.facts["labels_read_as"]


def test_what_a_spreadsheet_leaves_blank_is_passed_over_and_counted(tmp_path):
    content = ",,,,\nimage,hypothesis,label,,\na,b,entailment,,\n,,,,\n\nc,d,entailment\ne,f,entailment,,,\n"
    found = read_pair_file(write(tmp_path / "a.csv", content.replace("c,d,entailment\n", "c,d,entailment,,\n")))
    assert found.rows["line"].tolist() == [3, 6, 7] and found.ignored == ()
    assert found.facts["blank_rows_passed_over"] == 2 and found.facts["blank_columns_passed_over"] == 2
    numbered = read_pair_file(write(tmp_path / "b.csv", ",image,hypothesis,label\n0,a,b,entailment\n"))
    assert numbered.ignored == ("column 1",)
    with pytest.raises(ValueError, match="line 6: 3 cells where the header has 5"):
        read_pair_file(write(tmp_path / "c.csv", content))


def test_the_delimiter_is_what_the_header_holds_most_of(tmp_path):
    for header in ('image;"hypothesis, in words";label', "sep=;\nimage;hypothesis;label", "image;hypothesis;label;a,b"):
        content = header + "\na;b, c;entailment" + ";x" * ("a,b" in header) + "\n"
        found = read_pair_file(write(tmp_path / "a.csv", content), by_part=True)
        assert found.rows["hypothesis"].tolist() == ["b, c"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + "\n\na,b,maybe\n", ": line 4: unknown label"),
        (HEADER + 'a,"b\nc",entailment\na,"d\ne",maybe\n', ": line 4: unknown label"),
        (HEADER + "a,b\u2028c,entailment\na,d,maybe\n", ": line 3: unknown label"),
        (HEADER.replace("\n", "\r") + "a,b,entailment\ra,c,maybe\r", ": line 3: unknown label"),
        ("sep=,\n" + HEADER + "a,b,maybe\n", ": line 3: unknown label"),
        (HEADER + "a,B\ufffdr,entailment\n", ".*line 2: a character was already lost"),
        (HEADER + "a,b,neutral\na,c,maybe\n", ".*line 2: unknown label 'neutral'.*; line 3: unknown label 'maybe'"),
        (HEADER + "".join(f"a,b{k},x\n" for k in range(7)), ".*and 2 more"),
        (HEADER + f"a,{'b' * 131_073},entailment\n", ".*line 2: field larger than field limit"),
    ],
)
def test_a_fault_is_named_with_the_line_that_an_editor_shows(tmp_path, content, message):
    """What the hostile tables do not hold."""
    with pytest.raises(ValueError, match=r"a\.csv" + message):
        read_pair_file(write(tmp_path / "a.csv", content))


def test_no_message_holds_the_whole_file(tmp_path):
    long = "x" * 9_000
    for file, content in (
        ("a.json", json.dumps([GOOD] * 10_000)),
        ("a.jsonl", lines({long: "b"})),
        ("a.csv", f"{long},{long}y\n1,2\n"),
        ("b.csv", HEADER + f"a,b,{long}\n"),
    ):
        with pytest.raises(ValueError) as caught:
            read_pair_file(write(tmp_path / file, content))
        assert len(str(caught.value)) < 1_000 + len(str(tmp_path)), file
