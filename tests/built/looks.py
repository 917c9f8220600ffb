"""axe checks the contrast of each text. Here it checks each style once, which is much faster."""

from axe_playwright_python.base import AXE_SCRIPT
from axe_playwright_python.sync_playwright import Axe

# A text passes without a check if a text with the same colours, size and weight has passed, and all
# backgrounds around it have the same colours. If a text fails, or axe was not sure, or did not see
# it, the result counts only for this text.
ONCE_A_LOOK = """;(() => {
    const passed = window.passedLooks ??= new Set();
    const check = axe._audit.checks["color-contrast"], evaluate = check.evaluate;
    const look = (node) => {
        const {color, fontSize, fontWeight, textShadow} = getComputedStyle(node);
        const looks = [color, fontSize, fontWeight, textShadow];
        for (; node; node = node.parentElement) {
            const {backgroundColor, backgroundImage, opacity, filter} = getComputedStyle(node);
            looks.push(backgroundColor, backgroundImage, opacity, filter);
        }
        return looks.filter((part) => !["rgba(0, 0, 0, 0)", "none", "1"].includes(part)).join();
    };
    check.evaluate = function (node, ...others) {
        const its = look(node);
        if (passed.has(its)) return true;
        let key;
        const noting = (data) => { key = data.messageKey; this.data(data); };
        const result = evaluate.call({...this, data: noting}, node, ...others);
        if (result === true && !key) passed.add(its);
        return result;
    };
})()"""


def audit(page, **options):
    """Return the results of axe for a page. Only the violations are complete."""
    # A page that is checked again already has axe, which is half a megabyte of script.
    script = "null" if page.evaluate("'axe' in window") else AXE_SCRIPT + ONCE_A_LOOK
    return Axe(script).run(page, options=options | {"resultTypes": ["violations"]})
