"""The guards that `guards.py` breaks, by row of the list of faults."""

from __future__ import annotations

from faultlist.guards import Guard

ENDPOINT = "tests/integration/test_endpoint.py"
GUARDS = (
    Guard(
        "1", "an answer is on disk before anybody sees it", "harness/llm/client.py",
        "await self._here().writes.put(Entry(key, self._material(request), _to_cache(reply, cost), cost))", "pass",
        f"{ENDPOINT}::test_killed_client_resumes or test_second_run_is_answered",
    ),
    Guard(
        "2", "a killed training goes on from its checkpoint", "harness/train/checkpoint.py",
        'return [float(loss) for loss in json.loads(told["losses"])]', "return []",
        "tests/unit/test_causal_train.py::test_a_killed_training_goes_on",
    ),
    Guard(
        "3", "what another process finished meanwhile is not made again", "harness/store.py",
        "        with self._alone(ident):\n            if ident in self:\n",
        "        with self._alone(ident):\n            if False:\n",
        "tests/unit/test_locks.py::test_of_two_that_want",
    ),
    Guard(
        "4", "Ctrl-C waits for what is in flight", "harness/llm/draining.py",
        "self._loop.call_soon_threadsafe(self._stop)", "stop(number)",
        "tests/integration/test_draining.py::test_answers_in_flight and numbers0",
    ),
    Guard(
        "5", "one cool-down for all calls", "harness/llm/lane.py",
        "self.health.cool_down.extend(asked)", "await asyncio.sleep(asked)",
        f"{ENDPOINT}::test_cool_down_holds_back",
    ),
    Guard(
        "6", "a refusal halves the calls in flight", "harness/llm/pacing.py",
        "self.size = max(1.0, min(self.size, self._open) / 2)", "pass",
        "tests/unit/test_llm_window.py::halve",
    ),
    Guard(
        "7", "each call has an idempotency key", "harness/llm/endpoint.py",
        '"Idempotency-Key": key', '"X-Other": key',
        f"{ENDPOINT}::test_completion_sends",
    ),
    Guard(
        "8", "a broken connection is tried again", "harness/llm/lane.py",
        "failures > self.limits.max_retries", "failures > 0",
        f"{ENDPOINT}::test_passing_faults",
    ),
    Guard(
        "9", "an error sent with 200 is none the less one", "harness/llm/wire.py",
        'if fields.get("error"):', "if False:",
        "tests/unit/test_llm_wire.py::test_an_error_with_status_200",
    ),
    Guard(
        "10", "finish_reason is looked at first", "harness/generate/produce.py",
        'if choice.finish_reason == "length":', "if False:",
        "tests/unit/test_produce.py::test_why_an_answer_is_no_candidate",
    ),
    Guard(
        "11", "JSON that nests without end is no answer", "harness/llm/wire.py",
        "except (ValueError, RecursionError):", "except ValueError:",
        "tests/unit/test_llm_wire.py::test_what_is_not_the_protocol",
    ),
    Guard(
        "12", "a text of another label is relabelled or dropped", "harness/filters/consistency.py",
        "if best == item.label and own >= rule.keep_at:", "if True:",
        "tests/unit/test_filter_consistency.py::test_keep_relabel_or_drop",
    ),
    Guard(
        "13", "copies of held-out texts are dropped", "harness/filters/leakage.py",
        "            if copy:\n", "            if False:\n",
        "tests/unit/test_filter_leakage.py::test_verbatim",
    ),
    Guard(
        "14", "a hint that resembles held-out text is not used", "harness/generate/policies.py",
        "fault = hint_fault(text) or evidence.overlap(text)", "fault = hint_fault(text)",
        "tests/unit/test_feedback.py::test",
    ),
    Guard(
        "15", "data cannot close the tags around it", "harness/generate/prompts.py",
        'return TAGS.sub(r"‹\\1›", flat)', "return flat",
        "tests/unit/test_prompts.py::test_half_characters or test_what_a_seed",
    ),
    Guard(
        "16", "templates run in a sandbox", "harness/generate/prompts.py",
        "from jinja2.sandbox import SandboxedEnvironment", "from jinja2 import Environment as SandboxedEnvironment",
        "tests/unit/test_prompts.py::test_a_template_cannot",
    ),
    Guard(
        "17", "an endpoint's words are told without the key", "harness/llm/endpoint.py",
        "raise fault.redacted(_secrets(address))", "raise fault",
        f"{ENDPOINT}::never_the_key or nowhere_else",
    ),
    Guard(
        "18", "an id cannot lead out of the store", "harness/store.py",
        'if len(ident) > 100 or not ident.replace("-", "").replace("_", "").isalnum():', "if False:",
        "tests/unit/test_store.py::would_leave_the_store",
    ),
    Guard(
        "19", "YAML has a depth at which it is refused", "harness/yamlfile.py",
        "if self.depth >= MAX_DEPTH:", "if False:",
        "tests/unit/test_yamlfile.py::deepest or cannot_be_read",
    ),
    Guard(
        "21", "an answer that was changed on disk is not trusted", "harness/llm/cache.py",
        "if row[2] != _checksum(key, row[0], row[1]):", "if False:",
        "tests/unit/test_llm_cache.py::test_a_changed_row",
    ),
    Guard(
        "22", "every field of a request is in its key", "harness/llm/wire.py",
        '        "sample": request.sample,\n', "",
        "tests/unit/test_llm_wire.py::test_each_field_changes_the_key",
    ),
    Guard(
        "23", "a lock excludes others", "harness/locks.py",
        "fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)", "fcntl.LOCK_SH",
        "tests/unit/test_locks.py::test_of_two or excludes",
    ),
    Guard(
        "24", "a full disk is said in words", "harness/store.py",
        "if number not in DISK_ERRORS:", "if True:",
        "tests/unit/test_store.py::test_a_full_disk",
    ),
    Guard(
        "26", "what MLflow raises is one clear error", "harness/mlflowstore.py",
        "if not _is_mlflows(error):", "if True:",
        "tests/integration/test_tracking.py::test_a_damaged_database",
    ),
    Guard(
        "27", "what a killed attempt left in MLflow is cleared", "harness/tracking.py",
        "    clear(client, [run for run in runs if done is None or run not in kept])\n", "",
        "tests/integration/test_tracking.py::test_an_interrupted_attempt",
    ),
    Guard(
        "28", "the order of keys changes no id", "harness/store.py",
        "json.dumps(value, sort_keys=True,", "json.dumps(value,",
        "tests/unit/test_store.py::test_the_order_in_which",
    ),
    Guard(
        "29", "the digest of a data set covers every byte", "harness/tracked.py",
        "digest({path.relative_to(folder).as_posix(): file_digest(path) for path in files})",
        "digest([path.relative_to(folder).as_posix() for path in files])",
        "tests/integration/test_tracking.py::test_a_changed_byte",
    ),
    Guard(
        "", "no call beyond the budget", "harness/llm/budget.py",
        "calls + 1 > limits.calls", "calls > limits.calls",
        "tests/unit/test_llm_budget.py::test",
    ),
    Guard(
        "", "the budget counts what earlier processes spent", "harness/llm/cache.py",
        'query = "SELECT calls, failed, prompt_tokens, completion_tokens, usd FROM ledger WHERE scope = ?"',
        'query = "SELECT calls, failed, prompt_tokens, completion_tokens, usd FROM ledger WHERE scope = ? AND 0"',
        f"{ENDPOINT}::test_budget_stops_midway",
    ),
    Guard(
        "", "each candidate has one verdict of each filter", "harness/filters/funnel.py",
        "    check_conservation(len(filters), candidates, judged)\n", "",
        "tests/unit/test_funnel.py::are_a_defect or is_a_defect",
    ),
    Guard(
        "", "pages escape what data and models said", "harness/pages.py",
        "autoescape=True", "autoescape=False",
        "tests/unit/test_report.py::test_texts_are_escaped",
    ),
    Guard(
        "", "the review page is for whoever has the token", "harness/reviewserver.py",
        "if not secrets.compare_digest(token.encode(), self._app.token.encode()):", "if False:",
        "tests/unit/test_reviewserver.py::test_without_the_token",
    ),
    Guard(
        "", "a name that was rebound to this machine is refused", "harness/reviewserver.py",
        'if self.headers.get("Host") not in self._app.hosts:', "if False:",
        "tests/unit/test_reviewserver.py::rebound or without_a_host",
    ),
    Guard(
        "", "data cannot steer the terminal", "harness/plaintext.py",
        "return _SUSPECT.sub(lambda match: _shown(match[0]), flat)", "return flat",
        "tests/unit/test_terminal.py::test_markup_and_control",
    ),
    Guard(
        "", "no item is in two roles of the split", "harness/split.py",
        "if (other := owner.setdefault(mark, role)) is not role:",
        "if (other := owner.setdefault(mark, role)) is not role and False:",
        "tests/unit/test_split.py::test_a_text_or_group",
    ),
    Guard(
        "", "the test items open once per decision", "harness/seal.py",
        "if look.decision and look.decision != decision_digest:", "if False:",
        "tests/unit/test_seal.py::test_decisions_changed",
    ),
)  # fmt: skip
