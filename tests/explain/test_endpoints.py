"""Endpoints other than a plain server: Anthropic, kept replies, budgets, names, prices."""

from __future__ import annotations

import json
import os
import threading

import pytest
from llm_cases import ANSWER, EVIDENCE, KEY, LIMITS
from llm_server import Act, LLMServer, completion, send, stay_silent

from partwise.errors import DataError, RecipeError
from partwise.explain.endpoints import (
    Address,
    Cached,
    Ledger,
    Limits,
    Metered,
    MockEndpoint,
    Prompt,
    Record,
    ReplayEndpoint,
    Reply,
    Settings,
    UnansweredError,
    chosen_endpoint,
)
from partwise.explain.endpoints.anthropic import AnthropicEndpoint
from partwise.explain.endpoints.prices import likely_tokens, most_tokens, price_of
from partwise.explain.endpoints.records import Rehearsal, read_records
from partwise.explain.endpoints.schemas import bounded, strict
from partwise.explain.llm import LLMWriter
from partwise.explain.prompts import description_prompt, reply_schema
from partwise.explain.values import Description, Failed

PROMPT = description_prompt(EVIDENCE)
OTHER = description_prompt(EVIDENCE.model_copy(update={"modules": (1,)}))
SETTINGS = Settings(max_tokens=1000)
KEYS = [f"{name}_API_KEY" for name in ("OPENAI", "OPENROUTER", "ANTHROPIC", "PARTWISE_LLM")]
VARIABLES = [*KEYS, *(name.replace("API_KEY", "BASE_URL") for name in KEYS)]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server():
    server = LLMServer()
    yield server
    server.close()


class Counting:
    """Answers with a good description, and counts how often it was asked."""

    name = "counting:m"

    def __init__(self, tokens_in=100, tokens_out=50):
        self.asked, self.tokens = [], (tokens_in, tokens_out)

    def ask(self, prompt, settings):
        self.asked.append(prompt)
        words = json.dumps(ANSWER)
        return Reply(text=words, raw=words, tokens_in=self.tokens[0], tokens_out=self.tokens[1])


def message(stop="tool_use", **content):
    blocks = [content or {"type": "tool_use", "name": "reply", "id": "1", "input": ANSWER}]
    usage = {"input_tokens": 900, "output_tokens": 80}
    body = {"type": "message", "content": blocks, "stop_reason": stop, "usage": usage}
    return send(json.dumps(body).encode())


class TestAnthropic:
    def ask(self, server, *script: Act):
        server.script = list(script)
        address = Address.of(server.url.removesuffix("/v1"), "claude", KEY)
        return LLMWriter(AnthropicEndpoint(address, limits=LIMITS)).write(EVIDENCE)

    def test_the_arguments_of_the_tool_become_the_description(self, server):
        assert self.ask(server, message()) == Description.model_validate(ANSWER)
        (asked,) = server.asked
        assert asked.path == "/v1/messages"
        assert asked.headers["X-Api-Key"] == KEY
        assert "Authorization" not in asked.headers
        assert asked.body["system"] == PROMPT.messages[0]["content"]
        assert [each["role"] for each in asked.body["messages"]] == ["user"]
        assert asked.body["tools"][0]["input_schema"] == strict(PROMPT.schema)
        assert asked.body["tool_choice"] == {"type": "tool", "name": "reply"}

    def test_plain_text_is_read_too(self, server):
        outcome = self.ask(server, message(type="text", text=json.dumps(ANSWER)))
        assert isinstance(outcome, Description)

    @pytest.mark.parametrize(
        ("act", "reason"),
        [
            (message("max_tokens"), "token limit"),
            (message("refusal", type="text", text="no"), "refused"),
            (send(b"{}"), "no chat completion"),
            (send(b'{"type": "message", "content": 5}'), "no chat completion"),
            (send(b"<html>"), "not JSON"),
            (send(f"you sent {KEY}".encode(), 401), "PARTWISE_LLM_API_KEY"),
        ],
    )
    def test_other_replies_are_failures_without_the_key(self, server, act, reason):
        outcome = self.ask(server, act)
        assert isinstance(outcome, Failed)
        assert reason in outcome.reason
        assert KEY not in outcome.model_dump_json()
        assert len(server.asked) == 1

    def test_environment_headers_and_other_keys_are_not_sent(self, server, monkeypatch):
        monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Secret: hidden-hidden")
        monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "hidden-hidden")
        self.ask(server, message())
        assert "hidden" not in json.dumps(server.asked[0].headers)


class TestKept:
    def test_nothing_is_asked_twice(self, tmp_path):
        path = tmp_path / "kept.jsonl"
        first, second = Counting(), Counting()
        replies = [Cached(each, path).ask(PROMPT, SETTINGS) for each in (first, second)]
        assert (first.asked, second.asked) == ([PROMPT], [])
        assert replies[0].text == replies[1].text
        assert replies[1].cost == 0.0

    @pytest.mark.parametrize(
        ("prompt", "settings", "name"),
        [
            (OTHER, SETTINGS, "counting:m"),
            (PROMPT, Settings(), "counting:m"),
            (PROMPT, SETTINGS, "b"),
        ],
    )
    def test_another_prompt_setting_or_model_is_asked(self, tmp_path, prompt, settings, name):
        Cached(Counting(), tmp_path / "kept.jsonl").ask(PROMPT, SETTINGS)
        inner = Counting()
        inner.name = name
        Cached(inner, tmp_path / "kept.jsonl").ask(prompt, settings)
        assert inner.asked == [prompt]

    def test_a_line_that_was_cut_short_is_passed_over(self, tmp_path):
        path = tmp_path / "kept.jsonl"
        cached = Cached(Counting(), path)
        cached.ask(PROMPT, SETTINGS)
        cached.ask(OTHER, SETTINGS)
        path.write_text(path.read_text()[:-40])
        inner = Counting()
        again = Cached(inner, path)
        again.ask(PROMPT, SETTINGS)
        again.ask(OTHER, SETTINGS)
        assert inner.asked == [OTHER]

    def test_a_line_after_one_that_was_cut_short_is_not_lost(self, tmp_path):
        path = tmp_path / "kept.jsonl"
        Cached(Counting(), path).ask(PROMPT, SETTINGS)
        path.write_text(path.read_text()[:-40])
        Cached(Counting(), path).ask(OTHER, SETTINGS)
        inner = Counting()
        Cached(inner, path).ask(OTHER, SETTINGS)
        assert inner.asked == []

    def test_a_failure_is_not_kept(self, tmp_path, server):
        server.script = [send(b"no", 400)]
        address = Address.of(server.url, "m")
        from partwise.explain.endpoints.openai import OpenAIEndpoint

        cached = Cached(OpenAIEndpoint(address, limits=LIMITS), tmp_path / "kept.jsonl")
        with pytest.raises(UnansweredError):
            cached.ask(PROMPT, SETTINGS)
        assert not (tmp_path / "kept.jsonl").exists()

    def test_a_rehearsal_takes_what_is_kept_and_sends_nothing(self, tmp_path):
        inner = Counting()
        cached = Cached(inner, tmp_path / "kept.jsonl")
        cached.ask(PROMPT, SETTINGS)
        rehearsal = Rehearsal(cached, MockEndpoint())
        assert json.loads(rehearsal.ask(PROMPT, SETTINGS).text) == ANSWER
        assert json.loads(rehearsal.ask(OTHER, SETTINGS).text)["name"] == "mock name"
        assert (rehearsal.kept, rehearsal.unknown, inner.asked) == (1, [OTHER], [PROMPT])

    def test_what_a_writer_noted_can_be_replayed(self, tmp_path):
        writer = LLMWriter(Counting())
        written = writer.write(EVIDENCE)
        path = tmp_path / "provenance.jsonl"
        path.write_text("".join(each.model_dump_json() + "\n" for each in writer.records))
        replayed = LLMWriter(ReplayEndpoint(path))
        assert replayed.write(EVIDENCE) == written
        unknown = replayed.write(EVIDENCE.model_copy(update={"modules": (3,)}))
        assert unknown == Failed(reason="there is no recorded reply to this prompt")

    @pytest.mark.parametrize("text", ["", "{}\nno JSON\n"])
    def test_a_file_without_replies_is_refused(self, tmp_path, text):
        (tmp_path / "a").write_text(text)
        with pytest.raises(DataError, match="no recorded reply"):
            ReplayEndpoint(tmp_path / "a")

    def test_a_missing_file_is_refused(self, tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            ReplayEndpoint(tmp_path / "none")

    def test_records_tell_where_words_are_from(self):
        writer = LLMWriter(Counting(), Settings(max_tokens=77))
        writer.write(EVIDENCE)
        (record,) = writer.records
        assert record.subject == "module 0"
        assert record.prompt_version == "describe.v3+evidence.v3"
        assert record.prompt_hash == PROMPT.hash
        assert record.settings.max_tokens == 77
        assert record.messages == PROMPT.messages
        assert record.reply is not None
        assert record.reply.tokens_in == 100
        assert record.problem == ""
        assert Record.model_validate_json(record.model_dump_json()) == record

    def test_records_tell_why_there_are_none(self):
        writer = LLMWriter(MockEndpoint(lambda prompt: "no JSON"))
        writer.write(EVIDENCE)
        assert len(writer.records) == 2
        assert all("does not fit the schema" in each.problem for each in writer.records)
        assert writer.records[1].prompt_version.endswith("+again.v1")


def dear(tokens_in, tokens_out):
    """A dollar for each token that is written."""
    return float(tokens_out)


class TestBudget:
    def test_what_may_cost_more_than_is_left_is_not_sent(self):
        inner, ledger = Counting(tokens_out=50), Ledger(1100.0)
        metered = Metered(inner, dear, ledger)
        assert metered.ask(PROMPT, SETTINGS).cost == 50.0
        assert metered.ask(OTHER, SETTINGS).cost == 50.0
        assert ledger.spent.dollars == 100.0
        metered.ask(PROMPT, SETTINGS)
        with pytest.raises(UnansweredError, match=r"may cost \$1000.0000, and \$150.0000 "):
            metered.ask(PROMPT, SETTINGS)
        assert len(inner.asked) == 3

    def test_a_writer_counts_it_as_a_failure(self):
        writer = LLMWriter(Metered(Counting(), dear, Ledger(10.0)), SETTINGS)
        outcome = writer.write(EVIDENCE)
        assert isinstance(outcome, Failed)
        assert "not sent" in outcome.reason

    def test_tokens_that_nobody_counted_cost_the_most(self):
        inner = Counting()
        inner.tokens = (None, None)
        ledger = Ledger()
        assert Metered(inner, dear, ledger).ask(PROMPT, SETTINGS).cost == 1000.0
        assert ledger.spent.dollars == 1000.0

    @pytest.mark.parametrize(
        ("act", "charged"), [(send(b"", 500), 0.0), (send(b"", 400), 0.0), (stay_silent, 1000.0)]
    )
    def test_a_reply_that_got_lost_may_have_been_charged(self, server, act, charged):
        from partwise.explain.endpoints.openai import OpenAIEndpoint

        server.script, ledger = [act], Ledger()
        limits = Limits(read_s=0.2, deadline_s=1)
        metered = Metered(OpenAIEndpoint(Address.of(server.url, "m"), limits=limits), dear, ledger)
        with pytest.raises(UnansweredError):
            metered.ask(PROMPT, SETTINGS)
        assert ledger.spent.dollars == charged

    def test_others_wait_for_what_is_under_way(self):
        ledger, sent = Ledger(1500.0), []
        first = threading.Event()

        class Slow(Counting):
            def ask(self, prompt, settings):
                sent.append(prompt)
                first.wait(5)
                return super().ask(prompt, settings)

        metered = Metered(Slow(), dear, ledger)
        threads = [threading.Thread(target=metered.ask, args=(PROMPT, SETTINGS)) for _ in range(2)]
        for thread in threads:
            thread.start()
        while not sent:
            pass
        assert len(sent) == 1
        first.set()
        for thread in threads:
            thread.join(5)
        assert len(sent) == 2
        assert ledger.spent.dollars == 100.0

    def test_guesses_of_tokens_are_in_order(self):
        size = len(PROMPT.text)
        assert size / 5 < likely_tokens(PROMPT) < most_tokens(PROMPT) < size

    def test_known_models_have_a_price(self):
        price = price_of("gpt-4o-mini", "openai")
        assert price is not None
        assert 0 < price(1000, 0) < price(1000, 1000) < 0.01
        assert price_of("no such model", "openai") is None


class TestNames:
    @pytest.mark.parametrize("name", ["", "nonsense", "openai", "openai:", "http", "local:", KEY])
    def test_an_unknown_endpoint_is_refused(self, name):
        with pytest.raises(RecipeError, match="there is no endpoint"):
            chosen_endpoint(name)

    @pytest.mark.parametrize(
        ("name", "variable", "path"),
        [
            ("openai:m", "OPENAI", "/v1/chat/completions"),
            ("openrouter:m", "OPENROUTER", "/v1/chat/completions"),
            ("anthropic:m", "ANTHROPIC", "/v1/messages"),
        ],
    )
    def test_the_usual_variables_are_read(self, server, monkeypatch, name, variable, path):
        base = server.url.removesuffix("/v1") if name.startswith("anthropic") else server.url
        monkeypatch.setenv(f"{variable}_BASE_URL", base)
        monkeypatch.setenv(f"{variable}_API_KEY", KEY)
        server.script = [send(b"no", 400)]
        with pytest.raises(UnansweredError):
            chosen_endpoint(name).within(Ledger()).ask(PROMPT, SETTINGS)
        assert server.asked[0].path == path
        assert KEY in json.dumps(server.asked[0].headers)

    @pytest.mark.parametrize(
        ("name", "variable"),
        [
            ("openai:m", "OPENAI_API_KEY"),
            ("openrouter:m", "OPENROUTER_API_KEY"),
            ("anthropic:m", "ANTHROPIC_API_KEY"),
        ],
    )
    def test_a_missing_key_is_named_when_it_is_needed(self, name, variable):
        chosen = chosen_endpoint(name)
        assert chosen.rehearsed().name == name
        with pytest.raises(RecipeError, match=f"{variable} is not set"):
            chosen.within(Ledger())

    def test_an_address_gets_no_key_but_its_own(self, server, monkeypatch):
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai-123")
        server.script = [send(completion("{}"))]
        chosen = chosen_endpoint(f"{server.url}#some/model")
        chosen.within(Ledger(1.0)).ask(PROMPT, SETTINGS)
        assert "Authorization" not in server.asked[0].headers
        assert server.asked[0].body["model"] == "some/model"
        assert server.asked[0].body["max_tokens"] == 1000

    def test_a_budget_needs_a_price(self):
        with pytest.raises(RecipeError, match="no price of"):
            chosen_endpoint("http://example.org/v1#m").within(Ledger(1.0))

    def test_a_mock_needs_nothing(self):
        reply = chosen_endpoint("mock").within(Ledger(0.0)).ask(PROMPT, SETTINGS)
        assert isinstance(Description.model_validate_json(reply.text), Description)


class TestSchemas:
    def test_claims_are_those_that_can_be_made(self):
        assert reply_schema(EVIDENCE)["$defs"].keys() == {
            "ActivationClaim",
            "EffectClaim",
            "NoEffectClaim",
            "IgnoresClaim",
            "ProgramClaim",
        }
        between = EVIDENCE.model_copy(update={"kind": "interface", "modules": (0, 1)})
        found = reply_schema(between)["$defs"]
        assert found.keys() == {"IgnoresClaim", "InterfaceClaim", "ProgramClaim"}
        reader = found["InterfaceClaim"]["properties"]["reader"]["anyOf"]
        assert reader == [{"type": "integer", "enum": [0, 1]}, {"type": "null"}]

    def test_units_and_heads_are_those_of_the_evidence(self):
        found = reply_schema(EVIDENCE)["$defs"]["ActivationClaim"]["properties"]
        assert found["unit"] == {"type": "integer", "enum": [4]}
        none = EVIDENCE.model_copy(update={"profiles": ()})
        assert "ActivationClaim" not in reply_schema(none)["$defs"]

    def test_nothing_is_unbounded_where_a_grammar_writes(self):
        def walk(schema):
            if schema.get("type") == "string" and not schema.keys() & {"const", "enum", "pattern"}:
                assert schema["maxLength"] <= 300
            assert not any(sign in schema.get("pattern", "") for sign in ("*", "+"))
            if schema.get("type") == "array":
                assert schema["maxItems"] <= 6
            for value in schema.values():
                for each in value if isinstance(value, list) else [value]:
                    if isinstance(each, dict):
                        walk(each)

        walk(bounded(reply_schema(EVIDENCE)))


def test_hashes_tell_prompts_apart():
    assert PROMPT.hash == description_prompt(EVIDENCE).hash
    assert PROMPT.hash != OTHER.hash
    assert Prompt(PROMPT.messages, {}, "").hash != PROMPT.hash


def test_no_secret_is_in_what_is_kept(tmp_path, server, monkeypatch):
    monkeypatch.setenv("PARTWISE_LLM_API_KEY", KEY)
    server.script = [send(completion(json.dumps({**ANSWER, "name": KEY}), echo=KEY))]
    endpoint = chosen_endpoint(f"{server.url}#m").within(Ledger(), tmp_path / "kept.jsonl")
    writer = LLMWriter(endpoint)
    writer.write(EVIDENCE)
    assert server.asked[0].headers["Authorization"] == f"Bearer {KEY}"
    assert list(read_records(tmp_path / "kept.jsonl"))
    kept = (tmp_path / "kept.jsonl").read_text() + repr(writer) + repr(os.environ.get("X"))
    assert KEY not in kept
    assert KEY not in "".join(each.model_dump_json() for each in writer.records)
