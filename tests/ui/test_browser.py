"""The UI in a real browser, over a collector that answers from tests/ui/scenario.py."""

import pytest
from playwright.sync_api import Page, expect

from . import scenario
from .conftest import PATIENCE_MS, Visit
from .fake_collector import FakeCollector

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_MS)

WIDE, NARROW = (1440, 900), (390, 844)
PAGES = {
    "/": "Three things are broken",
    "/map": "Map",
    "/map?view=table": "Map",
    "/flows": "Flows",
    f"/flow/{scenario.FAILED}": "payments-workers could not charge order 81204",
    f"/flow/{scenario.HEALTHY}": "Every group that reads it processed it.",
    "/lag": "Lag",
    "/lag/shipping-stock": "shipping-stock: stock/4 stands",
    "/flow/nobody-knows": "This flow is not known",
    "/nowhere": "There is no such page",
}
NODE_PLACES = "() => [...document.querySelectorAll('.node')].map(n => n.dataset.id + n.getAttribute('transform'))"
VIEW = "() => document.querySelector('.world').getAttribute('transform')"


@pytest.mark.parametrize("visit", [WIDE, NARROW], indirect=True, ids=["wide", "narrow"])
def test_every_page_is_drawn_without_error_or_outside_request_and_fits(visit: Visit) -> None:
    for path, title in PAGES.items():
        page = visit.open(path + ("&" if "?" in path else "?") + "theme=dark")
        expect(page.locator("main h1")).to_contain_text(title)
        assert page.locator("h1").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
        for theme, ground in (("dark", "rgb(14, 16, 20)"), ("light", "rgb(246, 247, 249)")):
            expect(page.locator("html")).to_have_attribute("data-theme", theme)
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
            if theme == "dark":
                page.locator("#theme").click()
        assert "theme=light" in page.url


def test_a_page_has_language_landmarks_and_names_for_its_controls(visit: Visit) -> None:
    page = visit.open("/map?select=service:payments", "#panel h2")
    assert page.locator("html").get_attribute("lang") == "en"
    for landmark in ("banner", "main", "navigation", "complementary", "search"):
        assert page.get_by_role(landmark).count() >= 1, landmark
    nameless = """() => [...document.querySelectorAll('button, a, input, select')]
        .filter(e => !(e.textContent.trim() || e.ariaLabel || e.title || e.labels?.length)).map(e => e.outerHTML)"""
    assert page.evaluate(nameless) == []


def test_numbers_of_the_map_change_and_its_nodes_do_not_move(visit: Visit) -> None:
    page = visit.open("/map", ".node")
    places, view = page.evaluate(NODE_PLACES), page.evaluate(VIEW)
    figures = page.locator(".node .meta").all_text_contents()
    page.wait_for_function(
        "old => [...document.querySelectorAll('.node .meta')].some((m, i) => m.textContent !== old[i])", arg=figures
    )
    assert page.evaluate(NODE_PLACES) == places
    assert page.evaluate(VIEW) == view


def test_a_paused_map_asks_nothing_and_goes_on_when_live(visit: Visit, collector: FakeCollector) -> None:
    page = visit.open("/map", ".node")
    page.keyboard.press("p")
    expect(page.locator(".live-now")).to_contain_text("Paused at")
    with page.expect_response("**/_map*") as resumed:  # none may come before `p` is pressed again
        page.wait_for_function("() => Date.now() - window.flowtrail.pausedAt > 4500")
        page.evaluate("() => { window.asked = performance.getEntriesByType('resource').length; }")
        late = page.evaluate(
            "() => performance.getEntriesByType('resource').filter(e => e.name.includes('_map') && "
            "performance.timeOrigin + e.startTime > window.flowtrail.pausedAt).length"
        )
        page.keyboard.press("p")
    assert late == 0
    assert resumed.value.ok
    expect(page.locator(".live-now")).to_have_text("Live")


def test_a_click_on_a_node_opens_its_panel_and_the_address_keeps_it(visit: Visit) -> None:
    page = visit.open("/map", ".node")
    view = page.evaluate(VIEW)
    page.locator(".port[data-id='group:payments-workers']").click()
    expect(page.locator("#panel h2")).to_have_text("payments-workers")
    assert "select=group%3Apayments-workers" in page.url
    assert page.evaluate(VIEW) == view
    expect(page.locator("#panel")).to_contain_text("GatewayTimeout")
    page.reload()
    expect(page.locator("#panel h2")).to_have_text("payments-workers")
    expect(page.locator(".port.selected")).to_have_attribute("data-id", "group:payments-workers")
    page.keyboard.press("Escape")
    expect(page.locator("#panel h2")).to_have_count(0)
    page.go_back()
    expect(page.locator("#panel h2")).to_have_text("payments-workers")


def test_the_panel_leads_to_neighbours_flows_and_lag(visit: Visit) -> None:
    page = visit.open("/map?select=group:shipping-stock", "#panel h2")
    page.get_by_role("link", name="Only its neighbours").click()
    expect(page.locator(".node")).to_have_count(2)
    page.get_by_role("link", name="Whole map").click()
    page.wait_for_selector(".node[data-id='service:storefront']")
    page.get_by_role("link", name="Its lag").click()
    expect(page.locator("main h1")).to_contain_text("shipping-stock: stock/4 stands")
    page.get_by_role("link", name="On the map").click()
    page.get_by_role("link", name="Flows through it").click()
    expect(page.locator("#choose-service")).to_have_value("shipping")
    expect(page.locator("a.flow-row")).to_have_count(1)


def test_the_broken_things_are_listed_and_each_selects_its_node(visit: Visit) -> None:
    page = visit.open("/map", ".map-now")
    page.locator(".map-now button", has_text="Nobody reads payments.dlq").click()
    expect(page.locator("#panel h2")).to_have_text("payments.dlq")


def test_the_map_is_zoomed_dragged_and_fitted_again(visit: Visit) -> None:
    page = visit.open("/map", ".node")
    fitted = page.evaluate(VIEW)
    page.get_by_role("button", name="Zoom in").click()
    zoomed = page.evaluate(VIEW)
    page.mouse.move(300, 200)
    page.mouse.down()
    page.mouse.move(380, 260, steps=4)
    page.mouse.up()
    dragged = page.evaluate(VIEW)
    assert len({fitted, zoomed, dragged}) == 3
    page.get_by_role("button", name="Fit").click()
    assert page.evaluate(VIEW) == fitted


def test_hovering_a_node_dims_what_it_has_nothing_to_do_with(visit: Visit) -> None:
    page = visit.open("/map", ".node")
    page.locator(".node[data-id='service:storefront'] .name").hover()
    expect(page.locator(".graph-svg.focus")).to_have_count(1)
    lit = page.evaluate("() => [...document.querySelectorAll('.node.lit')].map(n => n.dataset.id).sort()")
    assert lit == ["service:storefront", "topic:orders"]


def test_the_search_box_is_one_key_away_and_the_address_keeps_the_search(visit: Visit) -> None:
    page = visit.open("/map", ".node")
    page.keyboard.press("/")
    page.keyboard.type("81204")
    page.keyboard.press("Enter")
    expect(page.locator("main h1")).to_have_text("Flows with 81204")
    assert page.url.endswith("/flows?q=81204")
    expect(page.locator("a.flow-row")).to_have_count(1)
    expect(page.locator("#search")).to_have_value("81204")
    page.locator("a.flow-row").click()
    expect(page.locator("main h1")).to_contain_text("could not charge")


def test_flows_are_filtered_by_choice_and_the_address_keeps_it(visit: Visit) -> None:
    page = visit.open("/flows", "a.flow-row")
    page.select_option("#choose-state", "crashed")
    expect(page.locator("a.flow-row")).to_have_count(1)
    assert "state=crashed" in page.url
    page.reload()
    expect(page.locator("a.flow-row")).to_have_count(1)
    expect(page.locator("#choose-state")).to_have_value("crashed")


def test_a_search_that_finds_nothing_says_what_can_be_searched(visit: Visit) -> None:
    page = visit.open("/flows?q=nothing-like-this")
    expect(page.locator(".nothing")).to_contain_text("topic/partition/offset")


def test_a_flow_says_first_why_it_failed_and_what_to_do(visit: Visit) -> None:
    page = visit.open(f"/flow/{scenario.FAILED}", ".ag-row")
    verdict = page.locator(".verdict")
    for words in ("dead-lettered", "orders/7/918244", "payments-workers", "GatewayTimeout", "storefront", "Next"):
        expect(verdict).to_contain_text(words)
    expect(page.locator("section.story .hop")).to_have_count(4)
    verdict.get_by_role("button", name="Copy Coordinates").click()
    expect(verdict.get_by_role("button", name="Copy Coordinates")).to_contain_text("copied")
    assert page.evaluate("navigator.clipboard.readText()") == "orders/7/918244"


def test_any_trace_id_of_a_flow_leads_to_it(visit: Visit) -> None:
    page = visit.open(f"/flow/{scenario.RETRY_TRACE}")
    expect(page.locator("main h1")).to_contain_text("could not charge")


def test_the_timeline_shows_the_failing_path_everything_or_failures(visit: Visit) -> None:
    page = visit.open(f"/flow/{scenario.FAILED}", ".ag-row")
    expect(page.locator(".ag-center-cols-container .ag-row")).to_have_count(16)
    page.get_by_role("link", name="11 rows in 2 branches went well").click()
    expect(page.locator(".ag-center-cols-container .ag-row")).to_have_count(26)
    assert "rows=all" in page.url
    page.get_by_role("link", name="Only failed 6").click()
    expect(page.locator(".ag-center-cols-container .ag-row")).to_have_count(6)


def test_gaps_are_unfolded_and_folded_again(visit: Visit) -> None:
    page = visit.open(f"/flow/{scenario.FAILED}", ".wf-axis b")
    expect(page.locator(".wf-axis b")).to_have_count(2)
    page.get_by_role("link", name="Unfold gaps").click()
    expect(page.locator(".wf-axis b")).to_have_count(0)
    page.get_by_role("link", name="Fold gaps").click()
    expect(page.locator(".wf-axis b")).to_have_count(2)


def test_e_goes_from_error_to_error_and_round_again(visit: Visit) -> None:
    page = visit.open(f"/flow/{scenario.FAILED}?rows=failed", ".ag-row")
    seen = []
    for _ in range(7):
        before = page.url
        page.keyboard.press("e")
        page.wait_for_function("old => location.href !== old", arg=before)
        seen.append(page.url.rpartition("row=")[2])
    assert len(set(seen)) == 6
    assert seen[6] == seen[0]


def test_a_span_shows_its_facts_and_its_links_lead_both_ways(visit: Visit) -> None:
    page = visit.open(f"/flow/{scenario.FAILED}", ".ag-row")
    page.get_by_role("link", name="process orders", exact=True).click()
    panel = page.locator("#panel")
    expect(panel.locator("h2")).to_have_text("process orders")
    expect(panel).to_contain_text("exception.type")
    expect(panel).to_contain_text("service.instance.id")
    panel.get_by_role("link", name="send orders").first.click()
    expect(panel.locator("h2")).to_have_text("send orders")
    expect(page.locator(".wf-name.now")).to_have_text("send orders")


def test_a_link_into_another_flow_is_followed(visit: Visit) -> None:
    last = next(s for s in reversed(scenario.failed_flow(0).spans) if s.operation == "process")
    page = visit.open(f"/flow/{scenario.FAILED}?row={last.span_id}", "#panel h2")
    page.locator("#panel").get_by_role("link", name="another flow").click()
    expect(page.locator("main h1")).to_contain_text("Every group that reads it processed it.")


def test_a_hop_shows_the_evidence_for_its_state(visit: Visit) -> None:
    page = visit.open(f"/flow/{scenario.FAILED}", ".hop")
    page.locator(".hop", has_text="nobody reads").click()
    expect(page.locator("#panel")).to_contain_text("Evidence")
    expect(page.locator("#panel")).to_contain_text("Lies in Kafka for")


def test_a_flow_of_20_000_spans_opens_and_is_scrolled_to_its_end(visit: Visit) -> None:
    page = visit.open(f"/flow/{scenario.BIG}", ".ag-row")
    expect(page.locator(".notice")).to_contain_text("20 000 spans is the most")
    assert page.locator(".ag-center-cols-container .ag-row").count() < 100
    page.evaluate("window.dash_ag_grid.getApi('timeline').ensureIndexVisible(19999)")
    expect(page.locator(".ag-row[row-index='19999']")).to_be_visible()
    page.keyboard.press("e")
    page.wait_for_function("() => location.search.includes('row=')")
    expect(page.locator("#panel")).to_contain_text("boom")


def test_a_trail_that_is_broken_is_said(visit: Visit) -> None:
    page = visit.open(f"/flow/{scenario.CRASHED}")
    expect(page.locator(".notice")).to_contain_text("the poll of orders carried no context")


def test_groups_are_shown_by_need_and_lead_to_their_partitions(visit: Visit) -> None:
    page = visit.open("/lag", "a.lag-row")
    page.get_by_role("link", name="Need care 3").click()
    expect(page.locator("a.lag-row")).to_have_count(3)
    page.locator("a.lag-row", has_text="shipping-stock").click()
    expect(page.locator(".table tbody tr")).to_have_count(6)
    expect(page.locator(".side")).to_contain_text("stock/4/1882310")


def test_light_and_dark_are_switched_and_remembered(visit: Visit) -> None:
    page = visit.open("/lag")
    first = page.locator("html").get_attribute("data-theme")
    page.locator("#theme").click()
    other = page.locator("html").get_attribute("data-theme")
    assert {first, other} == {"light", "dark"}
    visit.open("/map")
    assert page.locator("html").get_attribute("data-theme") == other


def test_a_range_of_time_is_chosen_kept_on_the_next_page_and_fixed(visit: Visit) -> None:
    page = visit.open("/map", ".node")
    page.locator(".time summary").click()
    page.get_by_role("button", name="Last hour").click()
    expect(page.locator(".time summary")).to_contain_text("Last hour")
    page.get_by_role("link", name="Flows", exact=True).click()
    expect(page.locator("main h1")).to_have_text("Flows")
    assert "from=-1h" in page.url
    page.locator(".time summary").click()
    page.fill(".menu input[name=from]", "2026-01-01T00:00:00")
    page.fill(".menu input[name=to]", "2026-01-01T02:00:00")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".live")).to_contain_text("Fixed range")
    page.get_by_role("button", name="Fixed range").click()
    expect(page.locator(".live-now")).to_have_text("Live")


def test_while_the_collector_is_away_the_last_data_stays_with_its_age(visit: Visit, collector: FakeCollector) -> None:
    page = visit.open("/lag", "a.lag-row")
    collector.is_away = True
    expect(page.locator("#banner")).to_contain_text("You see the last data from")
    expect(page.locator("a.lag-row").first).to_be_visible()
    expect(page.locator(".live-now")).to_have_text("Away")
    page.goto(visit.base + "/flow/never-asked")
    expect(page.locator("main h1")).to_have_text("Nothing of this page is known yet")
    assert page.get_by_text("store cannot be reached").count() == 1
    collector.is_away = False
    expect(page.locator("#banner")).to_be_empty()
    expect(page.locator(".live-now")).to_have_text("Live")


def test_before_the_first_span_the_first_steps_are_shown(visit: Visit, collector: FakeCollector) -> None:
    collector.is_empty = True
    page = visit.open("/map?from=-2h")
    expect(page.locator("main")).to_contain_text("Waiting for the first span.")
    expect(page.locator("main")).to_contain_text("flowtrail.instrument")
    collector.is_empty = False
    page.wait_for_selector(".node")  # the page goes on by itself when spans come


@pytest.mark.parametrize("visit", [(1000, 560)], indirect=True, ids=["small window"])
def test_a_small_window_shows_legible_text_and_what_is_broken_beside_the_list(visit: Visit) -> None:
    page = visit.open("/map", ".map-now")
    scale = """() => document.querySelector('.world').getCTM().a"""
    assert page.evaluate(scale) >= 0.8
    covered = """() => {
        const list = document.querySelector('.map-now').getBoundingClientRect();
        const stage = document.querySelector('.graph').getBoundingClientRect();
        const loud = [...document.querySelectorAll('.port.tone-fail, .port.tone-stuck')];
        return loud.map(e => [e.dataset.id, e.getBoundingClientRect()])
            .filter(([, b]) => b.left < stage.left || b.top < stage.top || b.bottom > stage.bottom
                || (b.bottom > list.top && b.right > list.left)).map(([id]) => id);
    }"""
    assert page.locator(".port.tone-stuck").count() > 0
    assert page.evaluate(covered) == []
    page.get_by_role("button", name="Fit the whole map").click()
    assert page.evaluate(scale) < 0.8


@pytest.mark.parametrize("visit", [NARROW], indirect=True, ids=["narrow"])
def test_on_a_phone_the_panel_does_not_hide_what_was_picked(visit: Visit) -> None:
    page = visit.open("/map", ".node")
    page.locator(".port[data-id='group:payments-workers']").click()
    expect(page.locator("#panel h2")).to_have_text("payments-workers")
    page.wait_for_function(
        "() => document.querySelector('.port.selected').getBoundingClientRect().bottom "
        "< document.querySelector('#panel').getBoundingClientRect().top"
    )


def test_the_map_is_used_by_keyboard(visit: Visit) -> None:
    page: Page = visit.open("/map", ".node")
    page.locator(".node[data-id='topic:stock'] .main").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#panel h2")).to_have_text("stock")


def test_flows_stand_a_line_each(visit: Visit) -> None:
    page = visit.open("/flows", "a.flow-row")
    heights = page.evaluate("() => [...document.querySelectorAll('a.flow-row')].map(e => e.offsetHeight)")
    assert heights
    assert max(heights) <= 40


def test_the_theme_button_shows_where_it_is(visit: Visit) -> None:
    page = visit.open("/lag?theme=light")
    drawn = "() => document.querySelector('#theme path').getAttribute('d')"
    moon = page.evaluate(drawn)
    page.locator("#theme").click()
    page.wait_for_function("old => document.querySelector('#theme path').getAttribute('d') !== old", arg=moon)
