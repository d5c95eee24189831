"""When the alarms mail, and when they don't: hours of log lines and gateway answers played through monitoring.yaml."""

import unittest

from alarm import World, mails
from template import monitoring

HOUR, DAY = 60, 24 * 60
WELL = {"outcome": "stored", "error_code": 0}


def reconciled(**fields):
    counts = "groups_added groups_changed groups_destroyed members_added members_removed members_changed skipped"
    line = {"outcome": "reconciled", "finished": True, "dry_run": False, "named": False, "first_pass": False}
    return line | dict.fromkeys(counts.split(), 0) | fields


class Alarms(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.monitoring = monitoring()

    def world(self, hours=2, callbacks=10, reconciles=True, forward=None):
        """So many callbacks a minute, all is well, and a pass ends every day."""
        world = World(self.monitoring, hours * HOUR)
        for minute in range(world.minutes):
            if callbacks >= 1:
                world.answer(minute, times=callbacks, **WELL, **({"forward": forward} if forward else {}))
            elif minute % round(1 / callbacks) == 0:
                world.answer(minute, **WELL)
            if reconciles and minute % 15 == 0:
                world.log("ReconcileLog", minute, **(reconciled() if minute % DAY == 30 else {"outcome": "waiting"}))
        return world

    def expect(self, world, *names, within=15, since=0, **parameters):
        """Just these alarms mail, each once, within so many minutes."""
        sent = mails(self.monitoring, world, **parameters)
        self.assertEqual(set(sent), set(names), sent)
        for name, minutes in sent.items():
            self.assertEqual(len(minutes), 1, sent)
            self.assertLessEqual(minutes[0] - since, within, sent)

    def test_all_is_silent_when_all_is_well_at_low_traffic_and_at_high(self):
        self.expect(self.world(hours=50, callbacks=1 / 180), QuietHours=6)
        self.expect(self.world(callbacks=60_000, forward="ok"), QuietHours=6)

    def test_a_little_trouble_at_high_traffic_is_silent(self):
        world = self.world(callbacks=60_000, forward="ok")
        for minute in range(world.minutes):
            world.answer(minute, 403, 5, outcome="rejected", error_code=120004)
            world.answer(minute, 503, 5, outcome="undecided", error_code=120008, forward="failed")
            world.answer(minute, times=20, outcome="stored", forward="queued")
            world.log("RedriveLog", minute, 20, outcome="forwarded", forward="ok")
        self.expect(world)

    def test_passers_by_and_two_checks_of_the_deployment_are_silent(self):
        world = self.world(callbacks=1 / 180)
        for minute in range(20, 40):
            world.answer(minute, 404, 200, method="GET")
        world.answer(20, 405, 3, outcome="rejected", error_code=120005)
        for minute in (40, 70):
            world.answer(minute, times=12, **WELL)
            world.answer(minute, 403, 4, outcome="rejected", error_code=120004)
        self.expect(world)

    def test_a_warmer_is_no_callback(self):
        world = World(self.monitoring, 12 * HOUR)
        for minute in range(world.minutes):
            world.log("WebhookLog", minute, outcome="ignored", level="WARN")
            if minute % 15 == 0:
                world.log("ReconcileLog", minute, outcome="waiting")
        world.answer(0, **WELL)
        self.expect(world, "Quiet", QuietHours=6, within=7 * HOUR)

    def test_one_lost_event_mails_once_however_many_parts_its_lines_have(self):
        world = self.world()
        world.answer(30, 503, outcome="lost", error_code=120007)
        world.log("WebhookLog", 30, 40, outcome="lost_part")
        self.expect(world, "Lost", since=30, within=2)
        self.assertNotIn(("Callbacks", "lost_part"), world.values)

    def test_an_outage_of_table_and_queue_mails_as_lost_only(self):
        world = self.world(callbacks=1 / 180)
        for minute in range(30, 90):
            world.answer(minute, 503, 100, outcome="lost", error_code=120007)
        self.expect(world, "Lost", since=30, within=2)

    def test_a_dead_letter_of_either_queue_mails(self):
        for queue in ("DeadLetterQueue", "ForwardDeadLetterQueue"):
            world = self.world()
            for minute in range(30, world.minutes):
                world.count(("ApproximateNumberOfMessagesVisible", queue), minute)
            self.expect(world, "DeadLetters", since=30, within=1)

    def test_a_body_that_cannot_be_read_is_a_dead_letter_and_nothing_else(self):
        world = self.world(callbacks=1 / 180)
        for minute in range(30, world.minutes):
            world.answer(minute, 400, outcome="rejected", error_code=120001)
            world.count(("ApproximateNumberOfMessagesVisible", "DeadLetterQueue"), minute, minute)
        self.expect(world, "DeadLetters", since=30)

    def test_a_wrong_token_mails_at_any_traffic(self):
        for interval, within in [(1, 10), (10, 15), (29, 31)]:
            world = self.world(callbacks=1 / 180)
            world.values.clear()
            for minute in range(0, world.minutes, interval):
                world.answer(minute, 403, outcome="rejected", error_code=120004)
                world.log("ReconcileLog", minute, outcome="waiting")
            self.expect(world, "Unanswered", within=within, QuietHours=1)

    def test_two_of_two_refused_mail_also_within_one_minute_and_one_alone_does_not(self):
        for times, rung in [(2, ("Unanswered",)), (1, ())]:
            world = self.world(callbacks=1 / 180)
            world.answer(40, 403, times, outcome="rejected", error_code=120004)
            self.expect(world, *rung, since=40, within=6)

    def test_a_wrong_path_mails_once_at_any_traffic(self):
        for interval, times, within in [(1, 9, 10), (1, 1, 10), (10, 2, 15), (29, 1, 31)]:
            world = self.world(hours=30, callbacks=1 / 180)
            self.nothing_comes(world, HOUR)
            for minute in range(HOUR, world.minutes, interval):
                world.answer(minute, 404, times)
            self.expect(world, "Unanswered", since=HOUR, within=within, QuietHours=6)

    def test_a_wrong_path_is_not_told_as_quiet_too_after_a_night(self):
        world = self.world(hours=30, callbacks=1 / 180)
        self.nothing_comes(world, HOUR)
        for minute in [*range(HOUR, 10 * HOUR, 10), *range(15 * HOUR, world.minutes, 10)]:
            world.answer(minute, 404)
        self.assertEqual(set(mails(self.monitoring, world, QuietHours=6)), {"Unanswered"})

    def nothing_comes(self, world, since):
        for values in (world.values[("Genuine",)], world.values[("Count", "HttpApi")]):
            values[since:] = [None] * (world.minutes - since)

    def test_a_throttle_of_the_gateway_mails_though_most_callbacks_pass(self):
        world = self.world(callbacks=60_000)
        for minute in range(30, world.minutes):
            world.answer(minute, 429, 300)
        self.expect(world, "Unanswered", since=30, within=10)

    def test_a_function_that_does_not_start_or_is_throttled_mails_once(self):
        for metric in ("Errors", "Throttles"):
            world = self.world(callbacks=1 / 180)
            world.values.pop(("Genuine",))
            for minute in range(30, world.minutes, 3):
                world.answer(minute, 500)
                world.count((metric, "Webhook"), minute)
            self.expect(world, "Functions", since=30, within=1, QuietHours=1)

    def test_redrive_or_publish_that_crashes_mails_once(self):
        for function in ("Redrive", "Publish"):
            world = self.world()
            for minute in range(30, world.minutes, 3):
                world.count(("Errors", function), minute)
                world.count(("IteratorAge", "Publish"), minute, (minute - 30) * 60_000)
                world.count(("ApproximateAgeOfOldestMessage", "RetryQueue"), minute, 540)
            if function == "Redrive":
                world.values.pop(("IteratorAge", "Publish"))
            self.expect(world, "Functions", since=30, within=1)

    def test_a_downstream_receiver_that_is_down_mails_once_for_decisions_and_late_callbacks(self):
        for decisions in (True, False):
            world = self.world(callbacks=60, forward="ok")
            for minute in range(30, world.minutes):
                world.values[("Forwards", "ok")][minute] = None
                world.answer(minute, times=60, outcome="stored", forward="queued")
                if decisions:
                    world.answer(minute, 503, 60, outcome="undecided", error_code=120008, forward="failed")
                world.log("RedriveLog", minute, 30, outcome="failed", forward="failed")
                world.count(("ApproximateAgeOfOldestMessage", "ForwardQueue"), minute, (minute - 30) * 60)
            self.expect(world, "Downstream", since=30, within=10)

    def test_a_few_decisions_that_are_never_given_mail(self):
        world = self.world(callbacks=1 / 180)
        for minute in range(0, world.minutes, 3):
            world.answer(minute, 503, outcome="undecided", error_code=120008, forward="failed")
        self.expect(world, "Downstream", within=10)

    def test_one_decision_that_is_not_given_is_silent(self):
        world = self.world(callbacks=1 / 180)
        world.answer(30, 503, outcome="undecided", error_code=120008, forward="failed")
        self.expect(world)

    def test_a_table_that_refuses_mails_long_before_the_dead_letters(self):
        world = self.world()
        world.log("RedriveLog", 10, outcome="failed")
        for minute in range(30, world.minutes, 3):
            world.log("RedriveLog", minute, outcome="failed")
        self.expect(world, "Late", since=30, within=10)

    def test_a_retry_queue_that_nobody_reads_mails(self):
        world = self.world()
        for minute in range(30, world.minutes):
            world.count(("ApproximateAgeOfOldestMessage", "RetryQueue"), minute, (minute - 30) * 60)
        self.expect(world, "Late", since=30, within=20)

    def test_an_unfinished_sweep_is_silent(self):
        world = self.world()
        for minute in range(30, world.minutes):
            world.log("RedriveLog", minute, 10, outcome="queued")
        self.expect(world)

    def test_a_bus_that_takes_no_changes_mails_once(self):
        world = self.world()
        for minute in range(30, world.minutes):
            world.log("PublishLog", minute, outcome="failed")
            world.count(("IteratorAge", "Publish"), minute, (minute - 30) * 60_000)
        self.expect(world, "Late", since=30, within=10)

    def test_a_stream_that_nobody_reads_mails(self):
        world = self.world()
        for minute in range(30, world.minutes):
            world.count(("IteratorAge", "Publish"), minute, (minute - 30) * 60_000)
        self.expect(world, "Late", since=30, within=25)

    def test_a_throttled_table_mails_once_and_a_large_group_not_at_all(self):
        for minutes, rung in [(3, ()), (60, ("Throttled",))]:
            world = self.world()
            for minute in range(30, 30 + minutes):
                world.count(("WriteThrottleEvents", "Table", "by_account"), minute, 500)
                world.log("RedriveLog", minute, 10, outcome="failed")
            self.expect(world, *rung, since=30, within=10)

    def test_no_callback_for_some_hours_mails_if_the_operator_wants_it(self):
        for hours, rung in [(6, ("Quiet",)), (0, ())]:
            world = self.world(hours=24, callbacks=1 / 30)
            self.nothing_comes(world, 8 * HOUR)
            self.expect(world, *rung, since=8 * HOUR, within=6 * HOUR, QuietHours=hours)

    def test_hours_in_which_other_alarms_ring_are_not_told_as_quiet_too(self):
        unread = ("ApproximateNumberOfMessagesVisible", "DeadLetterQueue")
        for name, status, metric, line in [
            ("Lost", 503, None, {"outcome": "lost", "error_code": 120007}),
            ("Downstream", 503, None, {"outcome": "undecided", "error_code": 120008, "forward": "failed"}),
            ("DeadLetters", 400, unread, {"outcome": "rejected", "error_code": 120001}),
            ("Functions", 500, ("Errors", "Webhook"), {}),
        ]:
            world = self.world(hours=4, callbacks=1 / 180)
            self.nothing_comes(world, HOUR)
            for minute in range(HOUR, world.minutes, 20):
                world.answer(minute, status, **line)
                if metric:
                    world.count(metric, minute)
            self.assertEqual(set(mails(self.monitoring, world, QuietHours=2)), {name})

    def test_reconcile_that_fails_again_and_again_mails_once(self):
        world = self.world(hours=48)
        finished = world.values[("Finished",)]
        finished[10 * HOUR :] = [value and 0 for value in finished[10 * HOUR :]]
        for minute in range(10 * HOUR, world.minutes, 15):
            world.log("ReconcileLog", minute, outcome="failed")
            world.count(("Errors", "Reconcile"), minute)
        self.expect(world, "Reconcile", since=10 * HOUR, within=2)

    def test_a_call_that_crashed_mails_though_lambda_dates_it_to_its_start(self):
        world = self.world(hours=4)
        world.count(("Errors", "Reconcile"), 100)
        self.expect(world, "Reconcile", since=100, within=15)

    def test_calls_that_are_not_due_or_meet_another_pass_are_silent(self):
        self.expect(self.world(hours=50))

    def test_reconcile_that_is_not_called_mails(self):
        world = self.world(hours=12)
        for metric in (("ReconcileFailed",), ("Finished",)):
            world.values[metric][5 * HOUR :] = [None] * 7 * HOUR
        self.expect(world, "Reconcile", since=5 * HOUR, within=61)

    def test_passes_that_never_end_or_skip_many_groups_mail_after_a_day(self):
        for line in (reconciled(finished=False), reconciled(skipped=21)):
            world = World(self.monitoring, 48 * HOUR)
            for minute in range(0, world.minutes, 15):
                world.log("ReconcileLog", minute, **line)
            self.expect(world, "ReconcileUnfinished", within=26 * HOUR)

    def test_a_first_pass_of_many_hours_is_silent(self):
        world = World(self.monitoring, 40 * HOUR)
        for minute in range(0, world.minutes, 15):
            first = reconciled(finished=minute == 14 * HOUR, groups_added=15_000, members_added=75_000, first_pass=True)
            world.log("ReconcileLog", minute, **(first if minute <= 14 * HOUR else {"outcome": "waiting"}))
        self.expect(world)

    def test_drift_mails_from_the_threshold_on(self):
        for threshold, rung in [(100, ("Reconcile",)), (101, ())]:
            world = self.world(hours=4)
            world.log("ReconcileLog", 90, **reconciled(groups_added=20, members_added=70, members_changed=10))
            world.log("ReconcileLog", 90, **reconciled(dry_run=True, groups_added=500))
            self.expect(world, *rung, since=90, within=2, DriftThreshold=threshold)
