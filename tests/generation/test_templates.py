"""Chat templates: as transformers renders them, and in bounded time and memory whatever they do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from jinja2 import TemplateError
from tiny_chats import TEMPLATE
from tiny_runs import Cli
from transformers import AutoTokenizer

from musclelora.data.chats import Message, as_dicts
from musclelora.generation import templates
from musclelora.generation.templates import ChatTemplate, OutOfBoundsError

CHAT = (
    Message("system", "Be brief."),
    Message("user", "  What is\nthis? <|im_end|> {{ 7 * 7 }}"),
    Message("assistant", "<think>hm</think>A test."),
    Message("user", "Thank you " * 50),
)
# ruff: noqa: E501  # templates are long lines
# What templates of well-known models do, in one place each.
KNOWN = {
    "ours": TEMPLATE,
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "llama 2": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system = "
    "messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system = false %}{% endif %}"
    "{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% if loop.index0 == 0 and system != false %}"
    "{% set content = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + message['content'] %}{% else %}{% set content = "
    "message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + "
    "content.strip() + ' [/INST]' }}{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "qwen 3": "{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}"
    "{%- for message in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}"
    "{%- if ns.multi_step_tool and message.role == 'user' and message.content is string and not("
    "message.content.startswith('<tool_response>')) %}{%- set ns.multi_step_tool = false %}"
    "{%- set ns.last_query_index = index %}{%- endif %}{%- endfor %}{%- for message in messages %}"
    "{%- set content = message.content %}{%- if '</think>' in content %}{%- set content = "
    "content.split('</think>')[-1].lstrip('\n') %}{%- endif %}{{- '<|im_start|>' ~ message.role ~ '\n' ~ content ~ "
    "'<|im_end|>\n' }}{%- endfor %}{%- if tools %}{{ tools | tojson }}{%- endif %}",
    "macros and filters": "{%- macro turn(m, last=false) -%}{{ m.role | upper }}: {{ m['content'] | trim }}"
    "{{ '' if last else '\n' }}{%- endmacro -%}{% for m in messages %}{{ turn(m, loop.last) }}{% endfor %}"
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list | length }}"
    "{{ messages | rejectattr('role', 'in', ['user']) | list | tojson(indent=2) }}"
    "{{ '%s and %d' % ('x', 3) }}{{ '{} {}'.format('a', 5) }}{{ ['a', 'b'] | join(', ') }}"
    "{{ messages | map(attribute='role') | unique | join('/') }}{{ {'b': 1, 'a': 2} | dictsort }}"
    "{% for k, v in {'x': 1}.items() %}{{ k ~ v }}{% endfor %}{{ nothing is defined }}{{ 2 ** 5 // 3 }}",
    "blocks": "{% set text %}{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.content }}"
    "{{ loop.index }}/{{ loop.length }}/{{ loop.previtem.role }}{% if loop.index > 3 %}{% break %}{% endif %}"
    "{% endfor %}{% endset %}{{ text | replace('\n', ' ') | trim }}{% filter upper %}{{ text }}{% endfilter %}"
    "{% for m in messages if m.role == 'user' %}{{ m.content | length }}{% else %}none{% endfor %}",
    "generation": "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
    "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}",
}
HOSTILE = {
    "a text times a number": "{{ 'x' * 10000000000 }}",
    "a number times a text": "{{ 10000000000 * 'x' }}",
    "a list times a number": "{% set l = [1] * 10000000000 %}",
    "a text times itself": "{% set s = 'x' * 10000 %}{{ s | replace('x', s) | replace('x', s) }}",
    "a power": "{{ 10 ** (10 ** 10) }}",
    "a number that squares itself": "{% set n = 9 %}" + "{% set n = n * n %}" * 60 + "{{ n }}",
    "a large range": "{% for x in range(1000000) %}{% endfor %}",
    "loops in loops": "{% for x in range(99999) %}{% for y in range(99999) %}{% endfor %}{% endfor %}",
    "many joined by a long text": "{{ range(99999) | map('string') | join('x' * 100000) }}",
    "the same by the method": "{{ ('x' * 100000).join(range(99999) | map('string')) }}",
    "a sum of lists": "{{ [[1]] | sum(start=[]) }}",
    "a recursive loop": "{% for x in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
    "macros that call themselves": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
    "{{ f(60) }}",
    "a macro without end": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "a text that doubles itself": "{% set s = 'x' %}" + "{% set s = s + s %}" * 60,
    "the same by ~": "{% set s = messages[0].content %}" + "{% set s = s ~ s %}" * 60,
    "the same by blocks": "{% set s = 'x' %}" + "{% set s %}{{ s }}{{ s }}{% endset %}" * 60,
    "a list in itself twice": "{% set l = [1] %}" + "{% set l = [l, l] %}" * 60 + "{{ l }}",
    "the same as JSON": "{% set l = [1] %}" + "{% set l = [l, l] %}" * 60 + "{{ l | tojson }}",
    "the same compared": "{% set a, b = [1], [1] %}"
    + "{% set a, b = [a, a], [b, b] %}" * 60
    + "{{ a == b }}",
    "the same by a test": "{% set a, b = [1], [1] %}"
    + "{% set a, b = [a, a], [b, b] %}" * 60
    + "{{ a is eq(b) }}",
    "the same as a key": "{% set a = (1,) %}" + "{% set a = (a, a) %}" * 60 + "{{ {a: 1} }}",
    "the same as an index": "{% set a = (1,) %}" + "{% set a = (a, a) %}" * 60 + "{{ {1: 1}[a] }}",
    "the same in namespaces": "{% set a = namespace(x=1) %}"
    + "{% set a = namespace(x=a, y=a) %}" * 60
    + "{{ a }}",
    "a width": "{{ '%10000000000d' % 1 }}",
    "a width that is a value": "{{ '%*d' % (10000000000, 1) }}",
    "a width of the filter": "{{ '%10000000000d' | format(1) }}",
    "a width of the method": "{{ '{:10000000000}'.format(1) }}",
    "a width of the method that is a value": "{{ '{:{}}'.format(1, 10000000000) }}",
    "many widths": "{{ ('{0:99999}' * 10000).format(1) }}",
    "many widths of the filter": "{{ ('%(a)99999d' * 10000) | format(a=1) }}",
    "a centred text": "{{ 'x' | center(10000000000) }}",
    "a padded text": "{{ 'x'.ljust(10000000000) }}",
    "tabs": "{{ '\t'.expandtabs(10000000000) }}",
    "an indent": "{{ [1] | tojson(indent=10000000000) }}",
    "a batch": "{{ [1] | batch(10000000000, 1) | list }}",
    "words": "{{ lipsum(n=100000) }}",
    "what transformers has no loader for": "{% include 'x' %}",
    "what is not there": "{{ nothing.at.all }}",
    "a wrong type": "{{ 1 + 'x' }}",
    "a division by zero": "{{ 1 // 0 }}",
    "no template": "{% for %}",
    "parentheses without end": "{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}",
    "ifs without end": "{% if true %}" * 5000 + "{% endif %}" * 5000,
    "a long one": "x" * (2**20 + 1),
    "a number of thousands of digits": "{{ " + "9" * 10_000 + " }}",
}


class Named:
    """What a template needs of a tokenizer."""

    special_tokens_map: dict[str, Any] = {"bos_token": "<s>", "eos_token": "</s>"}  # noqa: RUF012

    def __init__(self, template: str) -> None:
        self.template = template

    def get_chat_template(self) -> str:
        return self.template


def render(template: str, **options: Any) -> str:
    return ChatTemplate(Named(template)).render(CHAT, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("for_answer", [False, True])
@pytest.mark.parametrize("name", KNOWN)
def test_a_template_is_rendered_as_transformers_does(name: str, for_answer: bool, decoder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(decoder)
    tokenizer.chat_template = KNOWN[name]
    chat = CHAT[1:] if name == "llama 2" else CHAT
    expected = tokenizer.apply_chat_template(as_dicts(chat), tokenize=False, add_generation_prompt=for_answer)
    assert ChatTemplate(tokenizer).render(chat, for_answer=for_answer) == expected
    assert expected.strip()


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_a_template_does_is_one_error(name: str) -> None:
    with pytest.raises(TemplateError) as error:
        render(HOSTILE[name])
    assert str(error.value)


def test_what_depends_on_the_chat_is_bounded_too() -> None:
    template = ChatTemplate(Named("{% if messages|length > 3 %}{{ 'x' * 10 ** 10 }}{% endif %}"))  # type: ignore[arg-type]
    assert template.render(CHAT[:2]) == ""
    with pytest.raises(OutOfBoundsError):
        template.render(CHAT)
    assert template.render(CHAT[:2]) == ""  # each rendering has a budget of its own


def test_long_chats_are_rendered() -> None:
    many = tuple(Message(("user", "assistant")[n % 2], "some words " * 10) for n in range(1001))
    long = (Message("user", "x" * 2_000_000),)
    for chat in (many, long):
        text = ChatTemplate(Named(KNOWN["qwen 3"])).render(chat)  # type: ignore[arg-type]
        assert text.count("<|im_start|>") == len(chat)


def test_time_is_bounded_where_counting_sees_little(monkeypatch) -> None:
    monkeypatch.setattr(templates, "SECONDS", 0.0)
    with pytest.raises(OutOfBoundsError, match="takes over 0 s"):
        render("{% for x in range(10000) %}{% endfor %}")


@pytest.mark.parametrize("template", ["{{ 'x' * 10000000000 }}", "{% for x in range(1000000) %}{% endfor %}"])
def test_a_model_with_such_a_template_is_refused_in_one_line(
    template: str, decoder: Path, tmp_path: Path, cli: Cli
) -> None:
    model = shutil.copytree(decoder, tmp_path / "model")
    (model / "chat_template.jinja").write_text(template)
    (tmp_path / "pairs.jsonl").write_text(
        "".join(json.dumps({"prompt": f"word{n}", "response": "word1"}) + "\n" for n in range(8))
    )
    pairs = tmp_path / "pairs.jsonl"
    code, _, err = cli(
        *("train", "--task", "generate", "--train", pairs, "--trusted", pairs, "--model", model),
        *("--output", tmp_path / "run"),
    )
    assert (code, err.count("\n")) == (4, 1)
    assert f"{model}: its chat template cannot be used (" in err
    assert not (tmp_path / "run").exists()
