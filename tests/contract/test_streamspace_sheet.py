"""The StreamSpace document (seed 001), taken apart into 43 statements, and the tests that hold each of them.

``test_every_statement_has_its_tests`` verifies that every test named here exists and that no statement is missing;
whether a test holds its statement was found by reading. ``dialect`` is unit/server/dialects/streamspace, ``fleet``
unit/server/fleet.

SS-1   base address, times, words        dialect/test_errors: test_ss_1_times_are_whole_seconds_in_utc
                                         contract/test_streamspace_agent_socket: test_an_agent_connects_and_registers
                                         contract/test_streamspace_vnc: test_a_user_sees_their_desktop_and_types
                                         contract/test_streamspace_docs: test_the_documents_examples_fit_the_described_shapes
SS-2   login                             contract/test_streamspace_auth: test_ss_2_a_login_answers_token_user_and_expiry
SS-3   a bad login                       contract/test_streamspace_auth: test_ss_3_a_bad_login
SS-4   logout                            contract/test_streamspace_auth: test_ss_4_logging_out_ends_this_token_and_no_other
                                         contract/test_logins: test_a_logout_outlives_the_broker
SS-5   tokens                            contract/test_streamspace_auth: test_ss_5_every_request_needs_its_token
                                         contract/test_streamspace_auth: test_ss_5_the_token_is_a_jwt_of_24_hours
SS-6   roles                             contract/test_streamspace_auth: test_ss_6_what_only_administrators_may
SS-7   list of agents                    contract/test_streamspace_agents: test_ss_7_filters_and_pages
                                         contract/test_streamspace_agents: test_a_31_parameters_that_do_not_fit
SS-8   an agent's fields                 contract/test_streamspace_agents: test_ss_7_ss_8_the_list_is_the_documents
                                         dialect/test_rows: test_ss_8_a_whole_number_stays_one
SS-9   an agent in full                  contract/test_streamspace_agents: test_ss_9_details_have_sessions_and_uptime
                                         contract/test_streamspace_agents: test_ss_9_an_agent_that_is_not_there
SS-10  draining                          contract/test_streamspace_agents: test_ss_10_draining_takes_no_new_sessions_and_keeps_the_old
                                         fleet/test_drains: test_the_flag_survives_heartbeats_reconnects_and_restarts
SS-11  figures of all agents             contract/test_streamspace_agents: test_ss_11_figures_of_all_agents
                                         dialect/test_application: test_ss_11_a_word_wins_over_a_place
SS-12  what a session is asked for with  contract/test_streamspace_sessions: test_ss_12_ss_13_ss_14_a_session_begins
                                         contract/test_streamspace_sessions: test_ss_12_what_is_left_out
                                         contract/test_streamspace_sessions: test_a_10_a_session_may_begin_hibernated
SS-13  how that is answered              contract/test_streamspace_sessions: test_ss_12_ss_13_ss_14_a_session_begins
                                         fleet/test_sessions: test_the_answer_is_pending_with_its_agent_and_the_command_follows
SS-14  its name                          contract/test_streamspace_sessions: test_ss_12_ss_13_ss_14_a_session_begins
                                         fleet/test_naming: test_the_documents_example
SS-15  why it may be refused             contract/test_streamspace_sessions: test_ss_15_a_template_that_is_not_there
                                         contract/test_streamspace_sessions: test_ss_15_no_agent
                                         contract/test_streamspace_sessions: test_ss_15_a_13_agents_that_are_full
                                         contract/test_streamspace_sessions: test_ss_15_one_persistent_home_for_user_and_template
                                         contract/test_streamspace_sessions: test_ss_15_fields_that_are_missing_or_do_not_fit
                                         e2e/test_fleet_show: test_a_show_with_desktops
SS-16  list of sessions                  contract/test_streamspace_sessions: test_ss_16_the_list_is_the_documents
                                         contract/test_streamspace_sessions: test_ss_16_every_filter_and_order
SS-17  a session in full                 contract/test_streamspace_sessions: test_ss_17_a_session_that_is_not_there
                                         dialect/test_rows: test_the_documents_examples
                                         dialect/test_rows: test_ss_17_the_viewers_address_is_there_only_while_it_runs
SS-18  changes of state                  contract/test_streamspace_sessions: test_ss_18_hibernate_and_wake_answer_when_it_is_done
                                         contract/test_streamspace_sessions: test_ss_18_transitions_that_are_none
                                         fleet/test_rules: test_every_pair
SS-19  its end                           contract/test_streamspace_sessions: test_ss_19_deleting_ends_gracefully_and_stays_readable
                                         contract/test_streamspace_sessions: test_a_6_the_end_waits_for_an_agent_that_is_away
                                         contract/test_streamspace_sessions: test_a_6_by_force_for_administrators
SS-20  logs                              contract/test_streamspace_logs: test_ss_20_the_last_lines
                                         contract/test_streamspace_logs: test_ss_20_parameters_that_do_not_fit
                                         contract/test_streamspace_logs: test_a_18_following_sends_the_backlog_then_each_new_line
SS-21  states and phases                 contract/test_streamspace_sessions: test_ss_21_every_state_with_its_phase
SS-22  list of templates                 contract/test_streamspace_agents: test_ss_22_templates_by_page_and_category
SS-23  a template in full                contract/test_streamspace_agents: test_ss_23_a_template_in_full
SS-24  list of users                     contract/test_streamspace_auth: test_ss_24_users_by_page_and_role
                                         contract/test_streamspace_auth: test_ss_6_what_only_administrators_may
SS-25  a new user                        contract/test_streamspace_auth: test_ss_25_a_user_is_created_once
SS-26  a viewer's address                contract/test_streamspace_vnc: test_a_user_sees_their_desktop_and_types
                                         contract/test_streamspace_vnc: test_without_a_good_token_nothing_is_opened
SS-27  token, owner, tunnel, bytes       contract/test_streamspace_vnc: test_a_user_sees_their_desktop_and_types
                                         contract/test_streamspace_vnc: test_nobody_looks_at_anothers_desktop_but_administrators
                                         e2e/test_fleet_show: test_a_show_with_desktops
SS-28  an agent's address                contract/test_streamspace_agent_socket: test_an_agent_connects_and_registers
                                         contract/test_streamspace_agent_socket: test_an_address_that_does_not_say_who_is_told_before_the_upgrade
SS-29  register                          contract/test_streamspace_messages: test_ss_29_ss_30_registering
SS-30  register_ack                      contract/test_streamspace_messages: test_ss_29_ss_30_registering
SS-31  heartbeat                         contract/test_streamspace_messages: test_ss_31_heartbeats
                                         fleet/test_link: test_three_missed_heartbeats
SS-32  command                           contract/test_streamspace_messages: test_ss_32_ss_33_ss_34_every_command_from_its_sending_to_its_result
SS-33  command_ack                       contract/test_streamspace_messages: test_ss_32_ss_33_ss_34_every_command_from_its_sending_to_its_result
                                         fleet/test_link: test_an_acknowledgement_that_does_not_come
SS-34  command_result                    contract/test_streamspace_messages: test_ss_34_a_result_in_the_documents_words
                                         contract/test_streamspace_messages: test_ss_34_an_error_in_the_documents_words
SS-35  vnc_proxy_request                 contract/test_streamspace_messages: test_ss_35_a_viewer_is_asked_for
                                         contract/test_streamspace_vnc: test_the_request_to_the_agent_and_the_rows
SS-36  an agent that goes                contract/test_streamspace_agent_socket: test_a_socket_that_closes_takes_its_agent_offline
                                         fleet/test_failover: test_offline_at_once_and_nothing_else_within_the_grace
                                         fleet/test_failover: test_pending_sessions_go_to_the_same_region_first
                                         e2e/test_fleet_return: test_everybody_comes_back_at_once_to_a_killed_broker
SS-37  statuses                          dialect/test_errors: test_ss_37_every_status_of_the_document_but_422
                                         dialect/test_errors: test_nothing_answers_422
SS-38  the envelope of an error          dialect/test_errors: test_ss_38_the_envelope_is_always_whole
SS-39  codes                             dialect/test_errors: test_ss_39_every_code_of_the_document_with_its_status
                                         contract/test_streamspace_auth: test_ss_39_an_expired_token
SS-40  headers of the limits             contract/test_streamspace_bad_input: test_ss_40_every_answer_has_the_limit_headers_and_a_request_id
                                         dialect/test_limits: test_ss_40_headers_say_limit_remaining_and_reset
SS-41  the limits                        contract/test_streamspace_limits: test_ss_41_five_logins_a_minute_right_or_wrong
                                         contract/test_streamspace_limits: test_ss_41_ten_new_sessions_a_minute_for_each_user
                                         dialect/test_limits: test_ss_41_everything_else_counts_together_by_caller
                                         e2e/test_fleet_rights: test_two_people_and_a_stranger
SS-42  429                               contract/test_streamspace_limits: test_ss_42_the_hundred_and_first_request
                                         dialect/test_limits: test_ss_42_the_429_says_when_to_come_back
SS-43  the two scripts                   contract/test_streamspace_broker: test_ss_43_the_lifecycle_script
                                         contract/test_streamspace_broker: test_ss_43_the_lifecycle_script_on_a_desktop_that_really_runs
                                         contract/test_streamspace_broker: test_ss_43_the_monitor_script
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
SHORT = {"dialect": "unit/server/dialects/streamspace", "fleet": "unit/server/fleet"}
NAMED = re.compile(r"(\w[\w/]*/test_\w+): (test_\w+)$", re.MULTILINE)
STATEMENTS = 43


@cache
def names_in(module: str) -> frozenset[str]:
    """Names of the tests in a module below ``tests``, which must be there."""
    folder, _, name = module.rpartition("/")
    tree = ast.parse((TESTS / SHORT.get(folder, folder) / f"{name}.py").read_text("utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def missing_tests(table: str) -> list[str]:
    """Lines of a table ``module: test`` whose test does not exist."""
    named = NAMED.findall(table)
    assert len(named) == table.count(": test_"), "a line is written in another manner"
    return [f"{module}: {test}" for module, test in named if test not in names_in(module)]


def test_every_statement_has_its_tests() -> None:
    assert __doc__ is not None
    parts = re.split(r"^SS-(\d+) ", __doc__, flags=re.MULTILINE)
    assert [int(number) for number in parts[1::2]] == list(range(1, STATEMENTS + 1))
    assert [number for number, text in zip(parts[1::2], parts[2::2], strict=True) if not NAMED.search(text)] == []
    assert missing_tests(__doc__) == []


def test_a_test_that_is_not_there_is_missed() -> None:
    line = "contract/test_streamspace_sheet: test_of_something_else"
    assert missing_tests(f"SS-1 {line}") == [line]
