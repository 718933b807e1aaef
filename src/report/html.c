#include "report/html.h"

/* Colours are variables, so that the dark scheme is one block. Charts are laid out by their own SVG (chart.c,
 * heatmap.c): the plot is as wide as the page allows, its text is not scaled, and padding makes room for the labels. */
static const char style_colours[] =
    ":root{color-scheme:light dark;--paper:#fbfbf9;--card:#fff;--ink:#1d1d1b;--quiet:#6a6a65;--rule:#e4e3de;"
    "--grid:#eeede9;--s0:#2563a8;--s1:#c2590c;--s2:#2f7d4f;--s3:#7a4fa3;"
    "--h0:#1f5fa8;--h1:#4a86c4;--h2:#7fabd8;--h3:#b1cde8;--h4:#d9e6f2;--h5:#f1f0ec;"
    "--h6:#fae2cd;--h7:#f6c398;--h8:#ec9c5c;--h9:#d97428;--h10:#b34e0a}\n"
    "@media(prefers-color-scheme:dark){:root{--paper:#161615;--card:#1d1d1c;--ink:#e9e8e3;--quiet:#9c9b94;"
    "--rule:#343431;--grid:#292927;--s0:#78b0ee;--s1:#f0a060;--s2:#74c596;--s3:#bd9be0;"
    "--h0:#7db8f5;--h1:#5c96d2;--h2:#4475a8;--h3:#34567a;--h4:#2a3b4d;--h5:#2a2a28;"
    "--h6:#4a3524;--h7:#744a26;--h8:#a4652c;--h9:#d58238;--h10:#f7a55a}}\n";

static const char style_page[] =
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--paper);color:var(--ink);-webkit-text-size-adjust:100%;"
    "font:15px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,\"Helvetica Neue\",Arial,sans-serif}\n"
    "main{max-width:1120px;margin:0 auto;padding:40px 24px 56px}\n"
    "h1{margin:0;font-size:26px;line-height:1.25;font-weight:650;letter-spacing:-.01em;overflow-wrap:anywhere}\n"
    "h2{margin:0;font-size:18px;font-weight:650}\n"
    "section{margin-top:44px}\n"
    ".note{margin:2px 0 0;color:var(--quiet);max-width:76ch}\n"
    "dl.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:18px 28px;margin:26px 0 0;"
    "padding:18px 0;border-top:1px solid var(--rule);border-bottom:1px solid var(--rule)}\n"
    ".figures dt{color:var(--quiet);font-size:13px}\n"
    ".figures dd{margin:0}\n"
    ".figures .value{font-size:25px;line-height:1.3;font-weight:600;letter-spacing:-.01em;white-space:nowrap}\n"
    ".figures .more{color:var(--quiet);font-size:13px}\n"
    "dl.facts{display:grid;grid-template-columns:max-content 1fr;gap:3px 20px;margin:14px 0 0}\n"
    ".facts dt{color:var(--quiet)}\n"
    ".facts dd{margin:0;overflow-wrap:anywhere}\n"
    "pre,code{font:13px/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,\"DejaVu Sans Mono\",monospace}\n"
    "pre{margin:14px 0 0;padding:14px 16px;background:var(--card);border:1px solid var(--rule);border-radius:6px;"
    "overflow-x:auto;white-space:pre}\n"
    "pre.prose{white-space:pre-wrap;overflow-wrap:anywhere;max-width:90ch}\n"
    "details summary{cursor:pointer;color:var(--quiet);margin-top:12px}\n"
    "footer{margin-top:48px;color:var(--quiet);font-size:13px}\n"
    "@media(max-width:640px){main{padding:24px 16px 40px}h1{font-size:22px}.figures .value{font-size:21px}"
    "dl.figures{grid-template-columns:1fr 1fr;gap:14px 18px}}\n";

static const char style_charts[] =
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(400px,100%),1fr));"
    "gap:34px 40px;margin-top:34px;align-items:end}\n"
    "figure{margin:0;min-width:0}\n"
    "figcaption{display:flex;flex-wrap:wrap;gap:2px 18px;align-items:baseline}\n"
    "figcaption b{font-weight:600}\n"
    "figcaption .unit,.key,.legend{color:var(--quiet);font-size:13px}\n"
    ".key i{display:inline-block;width:16px;height:0;border-top:2px solid;vertical-align:4px;margin-right:6px}\n"
    ".key i.faint{border-top-width:1px;opacity:.6}\n"
    ".key i.dot{width:8px;height:8px;border:0;border-radius:50%;background:currentColor;vertical-align:0}\n"
    ".key .name{color:var(--quiet)}\n"
    ".plot{padding:14px 82px 42px 50px}\n"
    ".plot svg{display:block;width:100%;overflow:visible}\n"
    "svg text{fill:var(--quiet);font-size:12px;font-variant-numeric:tabular-nums}\n"
    "svg .grid{stroke:var(--grid);shape-rendering:crispEdges}\n"
    "svg .base{stroke:var(--rule);shape-rendering:crispEdges}\n"
    "svg .even{stroke:var(--quiet);stroke-dasharray:3 4}\n"
    "svg .line{fill:none;stroke-width:1.8;stroke-linejoin:round;vector-effect:non-scaling-stroke}\n"
    "svg .faint{fill:none;stroke-width:1;opacity:.38;stroke-linejoin:round;vector-effect:non-scaling-stroke}\n"
    "svg .dot{stroke:var(--paper);stroke-width:1.5}\n"
    "svg .end{font-weight:600;font-size:13px}\n"
    "svg .hit{fill:var(--ink);opacity:0}\n"
    "svg .hit:hover{opacity:.08}\n"
    "svg .heat{fill:none;shape-rendering:crispEdges}\n"
    ".plot.map{padding:14px 8px 42px 88px}\n"
    ".legend{display:flex;flex-wrap:wrap;align-items:center;gap:4px 8px;margin-top:10px}\n"
    ".legend i{display:inline-block;width:22px;height:12px}\n"
    ".nodes{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(250px,100%),1fr));"
    "gap:14px;margin-top:16px}\n"
    ".node{border:1px solid var(--rule);border-radius:6px;background:var(--card);padding:10px 12px 12px}\n"
    ".node>b{font-weight:600;font-size:13px}\n"
    ".ranks{display:grid;grid-template-columns:repeat(auto-fill,minmax(108px,1fr));gap:8px;margin-top:8px}\n"
    ".rank{border-left:3px solid var(--s0);padding:1px 0 1px 9px;font-size:12.5px;line-height:1.4;color:var(--quiet)}\n"
    ".rank b{color:var(--ink);font-weight:600}\n"
    ".rank span{white-space:nowrap}\n"
    "@media(max-width:640px){.plot{padding-left:40px;padding-right:74px}"
    ".plot.map{padding-left:84px;padding-right:2px}}\n";

void fsm_html_text(FILE *out, const char *text)
{
    for (const char *at = text; *at; at++) {
        unsigned char c = (unsigned char)*at;
        switch (c) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        case '\'':
            fputs("&#39;", out);
            break;
        default:
            if ((c < 0x20 && c != '\t' && c != '\n') || c == 0x7f) fputs("\xEF\xBF\xBD", out);
            else fputc(c, out);
        }
    }
}

void fsm_html_begin(FILE *out, const char *title)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>",
          out);
    fsm_html_text(out, title);
    fprintf(out, "</title>\n<style>\n%s%s%s", style_colours, style_page, style_charts);
    for (int i = 0; i < 4; i++)
        fprintf(out, ".c%d{color:var(--s%d)}svg .c%d{stroke:var(--s%d)}svg .f%d{fill:var(--s%d)}", i, i, i, i, i, i);
    for (int i = 0; i < 11; i++) fprintf(out, "svg .h%d{stroke:var(--h%d)}.b%d{background:var(--h%d)}", i, i, i, i);
    fputs("\n</style>\n</head>\n<body>\n<main>\n", out);
}

void fsm_html_end(FILE *out)
{
    fputs("</main>\n</body>\n</html>\n", out);
}

void fsm_html_begin_section(FILE *out, const char *id, const char *heading, const char *note)
{
    fprintf(out, "<section id=\"%s\">\n<h2>", id);
    fsm_html_text(out, heading);
    fputs("</h2>\n", out);
    if (!note) return;
    fputs("<p class=\"note\">", out);
    fsm_html_text(out, note);
    fputs("</p>\n", out);
}

void fsm_html_end_section(FILE *out)
{
    fputs("</section>\n", out);
}

void fsm_svg_text(FILE *out, const char *class, double x, double y, const char *text)
{
    fprintf(out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", class, x, y);
    fsm_html_text(out, text);
    fputs("</text>\n", out);
}
